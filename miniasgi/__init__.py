"""miniasgi: a minimal ASGI server that people learn from.

`run(app, **options)` serves and blocks; `Server(Config(app, **options))` is for those who own the
event loop. The options are the fields of `Config`. A mistake in them is a `ConfigError`, one sentence;
`ClientDisconnected`, an OSError, is what `send` raises on a WebSocket whose client has left (W10).
"""

__version__ = "0.1.0"

from .cli import run
from .config import Config
from .importer import ConfigError
from .server import Server
from .websocket import ClientDisconnected

__all__ = ["ClientDisconnected", "Config", "ConfigError", "Server", "__version__", "run"]
