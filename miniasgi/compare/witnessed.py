"""The target behind a witness, for a server to import: `miniasgi.compare.witnessed:app`."""

from .target import file, target
from .witness import Witness

app = Witness(target(), file())
