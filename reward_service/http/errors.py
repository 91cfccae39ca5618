"""Every refusal as JSON of one shape: ``{"error": {"type", "message", "field"}}``."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from reward_service.http.dispatch import DrainingError, OverloadedError
from reward_service.http.models import BadRequestError, BodyTooLargeError, ErrorAnswer, ErrorBody
from reward_service.http.queue import TooManyError

_DRAINING_RETRY_S = 5


def answer_of_status(status: int, message: str, *, type_: str | None = None, field: str | None = None) -> Response:
    """``type`` is the status in words unless given."""
    kind = type_ or HTTPStatus(status).phrase.lower().replace(" ", "_")
    body = ErrorAnswer(error=ErrorBody(type=kind, message=message, field=field))
    return Response(body.model_dump_json(), status, media_type="application/json")


def answer_of_large_body(message: str) -> Response:
    return answer_of_status(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, type_="body_too_large")


def install(app: FastAPI) -> None:
    """Answer the errors of the queue, of requests and of the framework in that shape."""

    @app.exception_handler(BadRequestError)
    async def bad_request(_: Request, error: BadRequestError) -> Response:
        return answer_of_status(
            HTTPStatus.UNPROCESSABLE_ENTITY, str(error), type_="invalid_request", field=error.field
        )

    @app.exception_handler(BodyTooLargeError)
    async def body_too_large(_: Request, error: BodyTooLargeError) -> Response:
        return answer_of_large_body(str(error))

    @app.exception_handler(TooManyError)
    async def too_many(_: Request, error: TooManyError) -> Response:
        return answer_of_status(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error), type_="batch_too_large")

    @app.exception_handler(OverloadedError)
    async def overloaded(_: Request, error: OverloadedError) -> Response:
        return _retry(
            answer_of_status(HTTPStatus.TOO_MANY_REQUESTS, str(error), type_="queue_full"), error.retry_after
        )

    @app.exception_handler(DrainingError)
    async def draining(_: Request, error: DrainingError) -> Response:
        return _retry(
            answer_of_status(HTTPStatus.SERVICE_UNAVAILABLE, str(error), type_="draining"), _DRAINING_RETRY_S
        )

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return answer_of_status(HTTPStatus.BAD_REQUEST, "the request ended in the middle of its body")

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> Response:
        answer = answer_of_status(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer


def _retry(answer: Response, seconds: int) -> Response:
    answer.headers["retry-after"] = str(seconds)
    return answer
