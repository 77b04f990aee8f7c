"""Enter and exit of each middleware, by Starlette's public list `app.user_middleware`.

Owns a layer around each of them. Knows no other framework: any other app has no such list, and
loses these hops alone.
"""

import functools
from typing import Any

from ..types import App, Receive, Scope, Send
from .model import Hop, Place, Trace, place_of
from .quiet import quiet
from .recorder import Recorder


def watch(app: Any, recorder: Recorder) -> int:
    """Watches the middlewares of an app that has not been called yet; gives how many there are."""
    app = _with_list(app)
    for member in getattr(app, "user_middleware", ()):
        member.cls = _watched(member.cls, recorder)
    return len(getattr(app, "user_middleware", ()))


def _with_list(app: Any) -> Any:
    """The app that has the list: what is around it has it as its `app`."""
    while app is not None and not isinstance(getattr(app, "user_middleware", None), list):
        app = getattr(app, "app", None)
    return app


def _watched(cls: Any, recorder: Recorder) -> Any:
    """In place of a middleware's class: makes the middleware, and a layer around it."""

    def make(app: App, *args: Any, **options: Any) -> App:
        middleware: App = cls(app, *args, **options)
        name, where = _about(cls, options.get("dispatch")) or ("a middleware", None)

        @quiet
        def entered(scope: Scope) -> tuple[Trace, Hop] | None:
            trace = recorder.active()
            return None if trace is None else (trace, trace.begin("middleware", name, where))

        @quiet
        def left(visit: tuple[Trace, Hop] | None, error: BaseException | None) -> None:
            if visit is not None:
                visit[0].end(visit[1], error)

        async def layer(scope: Scope, receive: Receive, send: Send) -> None:
            visit = entered(scope) if scope["type"] != "lifespan" else None
            try:
                await middleware(scope, receive, send)
            except BaseException as error:
                left(visit, error)
                raise
            left(visit, None)

        return layer

    return functools.update_wrapper(make, cls, updated=())


@quiet
def _about(cls: Any, own: Any) -> tuple[str, Place | None]:
    """Name and place of a middleware, or of what `@app.middleware("http")` is put around: a function, or an object."""
    name = _name(cls) if own is None else f"{_name(cls)}({_name(own)})"
    return name, place_of(own or getattr(cls, "__call__", cls))  # noqa: B004


def _name(thing: Any) -> str:
    return str(getattr(thing, "__name__", type(thing).__name__))
