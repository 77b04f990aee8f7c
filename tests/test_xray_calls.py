"""Calls of endpoints and dependencies, by `sys.monitoring`. (`test_xray_fastapi` has FastAPI's.)"""

import asyncio
import functools
import sys
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace

import pytest

from miniasgi.xray import calls
from miniasgi.xray.model import Trace
from miniasgi.xray.recorder import Recorder, current

if sys.version_info < (3, 12):

    def test_it_says_what_it_needs() -> None:
        with pytest.raises(RuntimeError, match=r"it needs Python 3\.12"):
            calls.watch(SimpleNamespace(), Recorder())

else:

    async def endpoint(n: int) -> int:
        for _ in range(2):
            await asyncio.sleep(0)
        return n

    async def wrong() -> None:
        raise ValueError("no")

    def gives() -> Iterator[str]:
        yield "it"

    async def lends() -> AsyncIterator[str]:
        await asyncio.sleep(0)
        yield "it"
        await asyncio.sleep(0)

    class Checker:
        def __call__(self) -> str:
            return "checked"

    def unwatched() -> None: ...

    @pytest.fixture
    def trace() -> Iterator[Trace]:
        recorder = Recorder()
        dependant = SimpleNamespace(
            dependencies=[
                SimpleNamespace(call=gives, dependencies=[SimpleNamespace(call=lends, dependencies=[])]),
                SimpleNamespace(call=Checker(), dependencies=[]),
            ]
        )
        routes = [SimpleNamespace(endpoint=functools.partial(endpoint, 3), dependant=dependant)]
        inner = SimpleNamespace(routes=[SimpleNamespace(endpoint=wrong)])
        app = SimpleNamespace(app=SimpleNamespace(routes=[*routes, SimpleNamespace(app=inner)]))
        assert calls.watch(app, recorder) == 5
        trace = recorder.begin("-", "GET /")
        token = current.set(trace)
        yield trace
        current.reset(token)
        for tool in (3, 4):
            if sys.monitoring.get_tool(tool) == "miniasgi":
                sys.monitoring.free_tool_id(tool)

    async def test_from_start_to_return(trace: Trace) -> None:
        assert await endpoint(3) == 3
        unwatched()
        [hop] = trace.hops
        assert (hop.name, hop.failed, hop.data["returned"]) == ("endpoint()", False, "3")
        assert hop.data["suspended"].startswith("2 times")
        assert hop.where is not None
        assert hop.where.line == endpoint.__code__.co_firstlineno

    async def test_what_it_raises(trace: Trace) -> None:
        with pytest.raises(ValueError, match="no"):
            await wrong()
        [hop] = trace.hops
        assert (hop.failed, hop.data) == (True, {"error": "ValueError('no')"})

    async def test_generators_are_over_when_they_give(trace: Trace) -> None:
        [lent] = [item async for item in lends()]
        [given] = list(gives())
        assert (lent, given) == ("it", "it")
        assert [hop.name for hop in trace.hops] == ["lends()", "gives()"]
        assert trace.hops[0].data["suspended"].startswith("1 times")
        assert all(hop.end_ns is not None for hop in trace.hops)

    async def test_one_that_is_given_up_and_a_callable_object(trace: Trace) -> None:
        Checker()()
        task = asyncio.create_task(endpoint(1))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [hop.name for hop in trace.hops] == ["__call__()", "endpoint()"]
        assert trace.hops[1].data["cancelled"] == "CancelledError"

    def test_others_may_have_all_tools(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.monitoring, "get_tool", lambda tool: "somebody")
        with pytest.raises(RuntimeError, match="others"):
            calls.watch(SimpleNamespace(), Recorder())
