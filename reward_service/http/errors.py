"""Refusals: every error of the service is JSON of one shape, ``{"error": {"type", "message", "field"}}``."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from reward_service.http.models import ErrorAnswer, ErrorBody

#: What the framework refuses by itself, in two words.
_UNROUTED: dict[int, str] = {
    HTTPStatus.NOT_FOUND: "there is no such path; /openapi.json lists the paths",
    HTTPStatus.METHOD_NOT_ALLOWED: "this path has another method; /openapi.json lists them",
}


class RefusedError(HTTPException):
    """A request that gets no answer but this one.

    ``type_`` is for programs and by default the status in words; the message is for people. ``retry_after``:
    seconds after which the same request may be taken.
    """

    def __init__(
        self, status: int, message: str, *, type_: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(status, message)
        self.type = type_
        if retry_after is not None:
            self.headers = {"retry-after": str(retry_after)}


def answer_error(error: Exception) -> JSONResponse:
    """Turn an error of a request into its answer; one that is not of HTTP is raised again."""
    if isinstance(error, RequestValidationError):
        message, field = _first_problem(error.errors())
        body = ErrorBody(type="invalid_request", message=message, field=field)
        return _answer(HTTPStatus.UNPROCESSABLE_ENTITY, body)
    if not isinstance(error, HTTPException):
        raise error
    kind, message = None, _UNROUTED.get(error.status_code, str(error.detail))
    if isinstance(error, RefusedError):
        kind, message = error.type, str(error.detail)
    in_words = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    answer = _answer(error.status_code, ErrorBody(type=kind or in_words, message=message))
    answer.headers.update(error.headers or {})
    return answer


def install(api: FastAPI) -> None:
    """Answer every error of a request so."""

    async def handle(_: Request, error: Exception) -> JSONResponse:
        return answer_error(error)

    api.add_exception_handler(RequestValidationError, handle)
    api.add_exception_handler(HTTPException, handle)


def _answer(status: int, body: ErrorBody) -> JSONResponse:
    return JSONResponse(ErrorAnswer(error=body).model_dump(), status)


def _first_problem(problems: Any) -> tuple[str, str | None]:
    """The message, and the path of the field in the body, None where all of it is wrong."""
    first = problems[0]
    if first["type"] == "json_invalid":
        return f"the body is not JSON: {first['ctx']['error']}", None
    field = ".".join(map(str, first["loc"][1:])) or None
    if field is None:
        return "the body is not a JSON object; /openapi.json describes it", None
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown field; leave it out"
    return f"{field}: {message}", field
