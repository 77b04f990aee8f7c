"""What can go wrong, as OpenAI's clients understand it: `{"error": {"message", "type", "param", "code"}}`."""

from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as AnyHTTPException

from .engine import EngineError
from .house import Full


class Refusal(HTTPException):
    """A request that is not answered, and the reason; `headers` have underscores for hyphens."""

    def __init__(self, status: int, message: str, code: str, **headers: str) -> None:
        super().__init__(status, message, {name.replace("_", "-"): value for name, value in headers.items()})
        self.code = code


def describe(error: Exception) -> tuple[int, dict[str, Any]]:
    """The status and the body for an error, wherever it comes up: also in a stream whose status is out."""
    code, param = getattr(error, "code", None), None
    match error:
        case RequestValidationError():  # OpenAI says 400 where FastAPI would say 422
            errors = error.errors()
            status, (message, param), code = 400, first_error(errors), errors[0]["type"]
        case AnyHTTPException():  # a Refusal, or Starlette's own, such as 404 for a path that there is not
            status, message = error.status_code, str(error.detail)
        case Full():
            status, message, code = 503, "The house is full: try again soon.", "overloaded"
        case TimeoutError():
            status, message, code = 504, "The answer took too long.", "timeout"
        case EngineError():
            status, message, code = 500, str(error), "engine_error"
        case _:
            status, message = 500, "Something went wrong here."
    kind = "authentication_error" if status == 401 else "invalid_request_error" if status < 500 else "server_error"
    return status, {"error": {"message": message, "type": kind, "param": param, "code": code}}


def check_model(asked: str, name: str) -> None:
    """Refuses a request for any other model than the one that there is."""
    if asked != name:
        raise Refusal(404, f"The model {asked!r} does not exist; there is {name!r}.", "model_not_found")


def first_error(errors: Any) -> tuple[str, str | None]:
    """What Pydantic found first, and the field."""
    field = ".".join(str(part) for part in errors[0]["loc"] if part != "body")
    return f"{field}: {errors[0]['msg']}" if field else errors[0]["msg"], field or None


async def respond(request: Any, error: Any) -> JSONResponse:
    """The exception handler for all of them."""
    status, body = describe(error)
    headers = {"Retry-After": "1"} if isinstance(error, Full) else {}
    return JSONResponse(body, status, headers | dict(getattr(error, "headers", None) or {}))


def install(app: FastAPI) -> None:
    for kind in (RequestValidationError, AnyHTTPException, Full, TimeoutError, EngineError):
        app.add_exception_handler(kind, respond)
