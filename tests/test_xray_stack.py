"""Where a task is stuck now: through every kind of thing that can be awaited."""

import asyncio
import contextlib
import contextvars
import inspect
import types
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import pytest

from miniasgi.xray.stack import await_chain, heirs

from .live_pages import stuck


@contextlib.asynccontextmanager
async def begun(coroutine: Coroutine[Any, Any, Any]) -> AsyncIterator["asyncio.Task[Any]"]:
    """A task that has come as far as it can."""
    task = asyncio.create_task(coroutine)
    for _ in range(3):  # turns of the loop
        await asyncio.sleep(0)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def inner(future: Any) -> None:
    await future  # here


async def outer(future: Any) -> None:
    await inner(future)


@types.coroutine
def old(future: Any) -> Iterator[Any]:
    yield from future


async def modern(future: Any) -> None:
    await old(future)


async def handing_on(future: Any) -> None:
    async for _ in generator(future):
        pass


async def generator(future: Any) -> AsyncIterator[None]:
    await future
    yield


async def elsewhere(future: Any) -> None:
    await asyncio.gather(outer(future))


def future() -> "asyncio.Future[None]":
    return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    "function, names",
    [
        (inner, ["inner"]),
        (outer, ["outer", "inner"]),
        (modern, ["modern", "old"]),
        (handing_on, ["handing_on", "generator"]),
        (elsewhere, ["elsewhere"]),  # another task has its own chain
    ],
)
async def test_the_chain_ends_at_a_future(function: Any, names: list[str]) -> None:
    async with begun(function(future())) as task:
        assert [step.function for step in await_chain(task)] == names


async def test_a_step_has_its_place_and_its_line() -> None:
    async with begun(outer(future())) as task:
        steps = await_chain(task)
    lines, first = inspect.getsourcelines(inner)
    assert steps[1].place == (__file__, first + 1)
    assert steps[1].source == lines[1].strip() == "await future  # here"
    assert steps[1].is_apps
    assert steps[1].json() == {
        "is_apps": True,
        "where": f"tests/test_xray_stack.py:{first + 1}",
        "function": "inner",
        "line": steps[1].source,
    }


async def test_who_inherits_a_context() -> None:
    variable = contextvars.ContextVar[object]("variable", default=None)
    value = object()

    async def parent() -> None:
        variable.set(value)
        child = asyncio.create_task(outer(future()))
        try:
            await child
        finally:
            child.cancel()

    async with begun(parent()) as task, begun(outer(future())):
        found = heirs(variable, value)
        assert found[0] is task
        assert [await_chain(one)[-1].source for one in found] == ["await child", "await future  # here"]
        assert heirs(variable, object()) == []


async def test_objects_that_can_be_awaited_are_no_end() -> None:
    async with begun(stuck(asyncio.Event())) as task:
        functions = [step.function for step in await_chain(task)]
        assert (functions[:4], functions[-1]) == (["stuck", "_drops", "_Well._wait", "Barrier.wait"], "Condition.wait")


async def test_a_task_that_has_not_begun_and_one_that_is_over() -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    assert [step.function for step in await_chain(task)] == ["sleep"]
    await task
    assert await_chain(task) == []
