"""A thread for what takes long and cannot be cancelled, such as loading a model."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def in_background(work: Callable[[], T]) -> T:
    """The result of `work`, which runs in a thread that nobody waits for at the end.

    `asyncio.to_thread` would: Ctrl+C while a large model loads would wait for all of it.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(setter: Callable[[Any], None], value: Any) -> None:
        if not future.done():
            setter(value)

    def run() -> None:
        try:
            outcome = future.set_result, work()
        except BaseException as error:
            outcome = future.set_exception, error  # type: ignore[assignment]
        with contextlib.suppress(RuntimeError):  # the loop is closed: it was for nothing
            loop.call_soon_threadsafe(tell, *outcome)

    threading.Thread(target=run, name="background", daemon=True).start()
    return await future
