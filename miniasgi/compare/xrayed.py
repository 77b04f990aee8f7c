"""The target under those taps of the x-ray that go with any server: `miniasgi.compare.xrayed:app`.

Writes each trace to the file when it is over, as a line of JSON.
"""

import json
import os

from ..xray.model import Trace
from ..xray.recorder import Recorder
from ..xray.taps import tapped
from .target import file, target

_file = os.open(file(), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def _save(trace: Trace) -> None:
    if trace.done and not trace.told:
        trace.told = True
        os.write(_file, json.dumps(trace.json()).encode() + b"\n")


recorder = Recorder()
recorder.listeners.add(_save)
app, taps = tapped(target, recorder)
