"""`python -m tools.site`: builds docs/ into site/, to be read from a disk as well as from a server.

Owns what zensical leaves to be done: it has pages fetch what lets their search run from a disk, for which
docs/offline.js is here.
"""

import re
import subprocess
import sys
from pathlib import Path

_ELSEWHERE = re.compile(r'\s*<script src="https://unpkg\.com/[^>]*></script>')


def build(root: Path) -> None:
    """Builds `root`/site; SystemExit with the reason if there is as much as a warning."""
    zensical = Path(sys.executable).parent / "zensical"
    ran = subprocess.run([zensical, "build", "--strict", "--clean"], cwd=root, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(ran.stdout + ran.stderr)
    for page in (root / "site").rglob("*.html"):
        page.write_text(_ELSEWHERE.sub("", page.read_text()))


if __name__ == "__main__":
    build(Path())
    print("Open site/index.html")
