"""A server with all processes and threads that it has started, seen from outside (proc(5))."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent


class Tree:
    """Runs a command in the root of the project, on one CPU if there are two; ends with `with`, all of it.

    Silent, unless `errors` is None, which lets its stderr through.
    """

    def __init__(
        self,
        command: list[str],
        cpu: int | None = 0,
        errors: int | None = subprocess.DEVNULL,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        if cpu is not None and len(os.sched_getaffinity(0)) > 1:
            os.sched_setaffinity(self.process.pid, {cpu})

    def __enter__(self) -> "Tree":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        for pid in self._pids():  # what does not end, or was left behind, would be in the next one's way
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def cpu(self) -> float:
        """User and system time so far, in seconds, of every thread of every process."""
        spent = 0
        for pid in self._pids():
            for thread in Path(f"/proc/{pid}/task").iterdir():
                spent += int((thread / "schedstat").read_text().split()[0])
        return spent / 1e9

    def memory(self) -> float:
        """MiB, what is shared with others counted in part."""
        found = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self._pids()]
        return (
            sum(int(line.split()[1]) for text in found for line in text.splitlines() if line.startswith("Pss:")) / 1024
        )

    def wakeups(self) -> int:
        """How often a thread has slept and was woken, so far."""
        texts = [path.read_text() for pid in self._pids() for path in Path(f"/proc/{pid}/task").glob("*/status")]
        lines = [line for text in texts for line in text.splitlines() if line.startswith("voluntary_ctxt_switches")]
        return sum(int(line.split()[1]) for line in lines)

    def _pids(self) -> list[int]:
        """All of our session: also those whose parents have gone."""
        pids = []
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                try:
                    if os.getsid(int(path.name)) == self.process.pid:
                        pids.append(int(path.name))
                except OSError:
                    continue
        return pids
