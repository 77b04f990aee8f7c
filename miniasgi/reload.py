"""Which files of a project changed, for `--reload`.

Owns what counts as a file of the project, and the two ways to hear of changes: the operating
system's, through watchfiles, and looking at every file's time again and again. Knows no process.

A save is rarely one change: editors write another file and rename it, formatters write once more, and
`git checkout` touches hundreds. So changes are told as sets, when a burst has ended.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_NOT_OURS = {"node_modules", "site-packages", "__pycache__"}  # and any hidden directory, such as .git
_DEBOUNCE = 1600  # milliseconds: the longest that we wait for a burst of changes to end
_QUIET = 50  # milliseconds without a change that end a burst


@dataclass(frozen=True)
class Project:
    """The directories that are watched, and the files in them that count.

    Python files do, and those that a pattern of `includes` matches; none does that a pattern of
    `excludes` matches, or that is below an excluded directory. A pattern is one of `Path.match`.

    All paths are absolute; an excluded directory is one of `excludes`, as text. No method looks at a
    file but `files`: whether a path counts can be said of one that was removed, too.
    """

    directories: tuple[Path, ...]  # absolute
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()

    def counts(self, path: Path) -> bool:
        """True if a change of this file is one of the project.

        Directories count from the watched one inwards: it may itself be hidden, or below `site-packages`.
        """
        inside = [parent for parent in path.parents if any(top in parent.parents for top in self.directories)]
        if not all(map(self.enters, inside)):
            return False
        if any(path.match(pattern) for pattern in self.excludes):
            return False
        is_python = path.suffix == ".py" and path.name[0] not in ".~"  # editors' locks and copies
        return is_python or any(path.match(pattern) for pattern in self.includes)

    def enters(self, directory: Path) -> bool:
        """False for a directory of other people's files: hidden, installed, made by a tool, or excluded."""
        hidden = directory.name.startswith(".") or directory.name in _NOT_OURS
        return not hidden and str(directory) not in self.excludes

    def name(self, path: Path) -> str:
        """The path as its owner knows it. (Not from the current directory: that may just have been removed.)"""
        return next((str(path.relative_to(top)) for top in self.directories if top in path.parents), str(path))

    def files(self) -> Iterator[Path]:
        """Every file that counts; nothing for a directory that has been removed."""
        for top in self.directories:
            for name, below, files in os.walk(top):
                directory = Path(name)
                # `os.walk` goes where this list says, so a node_modules of 50,000 files is never listed.
                below[:] = [child for child in below if self.enters(directory / child)]
                yield from (directory / file for file in files if self.counts(directory / file))


def changes(project: Project, delay: float) -> Iterator[set[Path]]:
    """Files that have changed, been made or been removed, whenever there are some; it never ends.

    A set has the absolute paths of a burst. The caller's thread waits in here; changes before its first wait
    are not seen. Without watchfiles, or if the system has no more watches to give (inotify(7):
    max_user_watches), it looks every `delay` seconds, which costs a system call for each file.
    """
    try:
        from watchfiles import watch

        wanted = lambda _, path: project.counts(Path(path))  # noqa: E731
        for found in watch(*project.directories, watch_filter=wanted, debounce=_DEBOUNCE, step=_QUIET):
            yield {Path(path) for _, path in found}
    except (ImportError, OSError, RuntimeError):
        yield from _differences(project, delay)


def _differences(project: Project, delay: float) -> Iterator[set[Path]]:
    """As `changes`, by comparing times: a file that was removed has none, and one that was made has one."""
    before = _times(project.files())
    while True:
        time.sleep(delay)
        now = _times(project.files())
        if now != before:
            yield {path for path, _ in now.items() ^ before.items()}
            before = now


def _times(files: Iterable[Path]) -> dict[Path, int]:
    """When each file was last written, in nanoseconds. Other than before is changed: a checkout goes back in time."""
    times = {}
    for file in files:
        with contextlib.suppress(OSError):  # removed since it was listed
            times[file] = file.stat().st_mtime_ns
    return times
