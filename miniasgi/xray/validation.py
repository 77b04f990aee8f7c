"""Every validation of Pydantic, by its plugin protocol: what came in, what came out, what is wrong.

Owns a plugin and its announcement. Pydantic asks once in a process, at its first validator, who wants
to see validations; so `announce` has to come before the app is imported. It asks the metadata of
installed packages: ours is made up in memory, as an entry point that is shipped would load the plugin
into every process that has miniasgi installed.
"""

import importlib.metadata
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from .model import Hop, Trace, place_of, shown
from .quiet import quiet
from .recorder import Recorder
from .secrets import is_secret

_GROUP = "[pydantic]\nminiasgi-xray = miniasgi.xray.validation:plugin\n"


class _Distribution(importlib.metadata.Distribution):
    def read_text(self, filename: str) -> str | None:
        return {"METADATA": "Name: miniasgi-xray\nVersion: 1\n", "entry_points.txt": _GROUP}.get(filename)

    def locate_file(self, path: Any) -> Path:
        return Path(path)


class _Finder(importlib.metadata.DistributionFinder):
    def find_spec(self, *args: Any) -> None:
        """Finds no module: it is there for metadata."""

    def find_distributions(self, context: Any = None) -> Iterator[importlib.metadata.Distribution]:
        if getattr(context, "name", None) in (None, "miniasgi-xray"):
            yield _Distribution()


class Plugin:
    """What Pydantic calls (pydantic.plugin.PydanticPluginProtocol)."""

    recorder: Recorder | None = None

    def new_schema_validator(
        self, schema: Any, schema_type: Any, schema_type_path: Any, schema_kind: str, *args: Any
    ) -> tuple[Any, Any, Any]:
        """A watcher of one validator, for whatever form its input has."""
        parts = get_args(schema_type) if hasattr(schema_type, "__metadata__") else (schema_type,)
        watcher = Watcher(self, _label(parts, schema_type_path.name), parts[0])
        return watcher, watcher, watcher


plugin = Plugin()


def announce(recorder: Recorder) -> None:
    """Tells Pydantic of the plugin. RuntimeError if it has asked already, so that nothing will be seen."""
    loader = sys.modules.get("pydantic.plugin._loader")
    if getattr(loader, "_plugins", None) is not None and plugin not in loader._plugins.values():  # type: ignore[union-attr]
        raise RuntimeError("Pydantic was in use before")
    plugin.recorder = recorder
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


class Watcher:
    """One validator's. A validation never waits, so what a thread has begun last it ends first."""

    def __init__(self, plugin: Plugin, label: str, kind: Any) -> None:
        self._plugin = plugin
        self._label, self._kind = label, kind
        name, colon, _ = label.partition(": ")
        self._is_secret = bool(colon) and is_secret(name)  # `password: str`, but not a model called `Session`
        self._here = threading.local()

    @quiet
    def on_enter(self, value: Any, **options: Any) -> None:
        """Pydantic begins; `value` is text or an object."""
        recorder = self._plugin.recorder
        trace = recorder.active() if recorder is not None else None
        if trace is None:
            self._stack.append((None, None))
            return
        verb = "validate" if options.get("self_instance") is None else "construct"
        where = place_of(self._kind) if isinstance(self._kind, type) else None
        self._stack.append((trace, trace.begin("pydantic", f"{verb} {self._label}", where, input=self._shown(value))))

    @quiet
    def on_success(self, result: Any) -> None:
        """It gives `result`."""
        trace, hop = self._stack.pop()
        if trace is not None:
            trace.end(hop, output=self._shown(result))

    @quiet
    def on_error(self, error: Any) -> None:
        """The input is wrong, and the client will be told so."""
        trace, hop = self._stack.pop()
        if trace is not None:
            hop.failed = True
            for number, each in enumerate(error.errors(include_url=False, include_input=False), 1):
                at = ".".join(map(str, each["loc"]))
                trace.describe(hop, **{f"error {number}": f"{at and f'{at}: '}{each['msg']} [{each['type']}]"})
            trace.end(hop)

    @quiet
    def on_exception(self, exception: Exception) -> None:
        """A validator of the app has raised something else."""
        trace, hop = self._stack.pop()
        if trace is not None:
            trace.end(hop, exception)

    def _shown(self, value: Any) -> Any:
        return "*" * len(shown(value)) if self._is_secret else value

    @property
    def _stack(self) -> list[tuple[Trace | None, Any]]:
        if not hasattr(self._here, "stack"):
            self._here.stack = list[tuple[Trace | None, Hop | None]]()
        return self._here.stack  # type: ignore[no-any-return]


def _label(parts: tuple[Any, ...], name: str) -> str:
    """`Prompt`; or `prompt: Prompt` for a parameter: to FastAPI it is `Annotated[Prompt, ..., Field(alias=...)]`."""
    kind, *rest = parts
    text = kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "") if rest else name
    alias = getattr(rest[-1], "alias", None) if rest else None
    return f"{alias}: {text}" if isinstance(alias, str) else text
