"""The target behind a witness, for a server to import: `miniasgi.compare.witnessed:app`.

Owns the names of what stands in the environment, as no server takes arguments for us.
"""

import os

from ..importer import load_app
from .witness import Witness

app = Witness(
    load_app(os.environ["COMPARE_TARGET"], factory=bool(os.environ["COMPARE_FACTORY"])), os.environ["COMPARE_FILE"]
)
