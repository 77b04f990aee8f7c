"""What is compared, as a server's process finds it: in the environment, as no server takes arguments for us.

Owns the names of these variables, and how they are written and read.
"""

import os
from pathlib import Path

from ..importer import load_app
from ..types import App

_TARGET, _FACTORY, _FILE = "COMPARE_TARGET", "COMPARE_FACTORY", "COMPARE_FILE"


def environment(app: str, factory: bool, file: Path) -> dict[str, str]:
    """The variables for a server whose app is one of ours, around the target."""
    return {_TARGET: app, _FACTORY: "yes" if factory else "", _FILE: str(file)}


def target() -> App:
    """The app that the words of the command mean."""
    return load_app(os.environ[_TARGET], factory=bool(os.environ[_FACTORY]))


def file() -> str:
    """Where to write down what was seen."""
    return os.environ[_FILE]
