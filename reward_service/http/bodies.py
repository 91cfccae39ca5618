"""Read the bodies of requests so that no body, however large or wrong, holds up the others' answers."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, ClassVar, Protocol

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from common.records import Task, TestCase
from reward_service.http import body_process
from reward_service.http.body_process import CPU_SECONDS, MODELS
from reward_service.http.errors import RefusedError
from reward_service.http.models import DecodingRequest, GroupRequest, ScoreRequest
from reward_service.http.sandbox_fusion import RunCode
from reward_service.http.turns import Turns
from reward_service.reading.pool import ReaderPool

#: Bytes that are read where they are, since that takes no longer than handing them over.
SMALL_BODY = 1 << 16


class BodyReader:
    """Reads large bodies in processes of their own, as many at a time as there are cores."""

    def __init__(self) -> None:
        cores = len(os.sched_getaffinity(0))
        self._processes = ReaderPool(body_process.__name__, cores)
        # Not the event loop's own threads: small requests need those.
        self._threads = ThreadPoolExecutor(cores, thread_name_prefix="body-reader")

    async def read(self, model: type[BaseModel], body: bytes) -> BaseModel:
        """Return the body as its model. Raises RequestValidationError and RefusedError."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._read, model, body)

    def close(self) -> None:
        """End the processes, once they have answered what they were asked."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._processes.close()

    def _read(self, model: type[BaseModel], body: bytes) -> BaseModel:
        parts = self._processes.ask(model.__name__.encode() + b"\n" + body)
        if parts is None:
            raise RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the body cannot be read within {CPU_SECONDS:g} s; split the batch",
                type_="body_too_large",
            )
        return _built(model, map(json.loads, parts))


class _Serving(Protocol):
    """What a route needs of its service."""

    bodies: BodyReader
    turns: Turns


class LargeBodyRoute(APIRoute):
    """A route whose bodies are read in turn, large ones by the reader of its service, ``app.state.service``."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """Return the framework's handler behind the reading of the body."""
        handle = super().get_route_handler()
        model = next((each for each in MODELS.values() if self._takes(each)), None)

        async def read_first(request: Request) -> Response:
            if model is None:
                return await handle(request)
            try:
                body = await request.body()
            except ClientDisconnect as error:
                raise RefusedError(HTTPStatus.BAD_REQUEST, "the client hung up") from error
            service: _Serving = request.app.state.service
            if len(body) <= SMALL_BODY:
                await service.turns.take()
                return await handle(request)
            found = await service.bodies.read(model, body)
            return await handle(_Read(request, found))

        return read_first

    def _takes(self, model: type[BaseModel]) -> bool:
        return self.body_field is not None and self.body_field.field_info.annotation is model


class _Read(Request):
    """A request whose body has been read: what the framework takes for its JSON is the model already."""

    def __init__(self, request: Request, found: BaseModel) -> None:
        super().__init__(request.scope, request.receive)
        self._found = found

    async def body(self) -> bytes:
        return b"read"

    async def json(self) -> Any:
        return self._found


class _Builder:
    """Puts a request together from parts that were checked: none of its steps takes long."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self._groups: list[dict[str, Any]] = []

    def add(self, kind: str, content: Any) -> None:
        """Take the next part. Raises RequestValidationError and RefusedError where it says what is wrong."""
        if kind in self._LISTS:
            self._groups[-1][kind].extend(map(self._LISTS[kind], content))
        elif kind == "group":
            decodings: list[Any] | None = [] if content["decodings"] else None
            self._groups.append(content | {"tests": [], "completions": [], "decodings": decodings})
        elif kind == "fields":
            self.fields = content
        elif kind == "wrong":
            raise RequestValidationError([content | {"loc": ("body", *content["loc"])}])
        elif kind == "not JSON":
            raise RequestValidationError([{"type": "json_invalid", "loc": ("body",), "ctx": {"error": content}}])
        else:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is nested too deep, or too large, to be read")

    def batch(self) -> ScoreRequest:
        groups = []
        for group in self._groups:
            # Its other fields are few and small, and not all are what JSON has.
            task = Task.model_validate(group["task"] | {"tests": ()})
            task = task.model_copy(update={"tests": tuple(group.pop("tests"))})
            groups.append(GroupRequest.model_construct(**group | {"task": task}))
        return ScoreRequest.model_construct(**self.fields, groups=groups)

    _LISTS: ClassVar[dict[str, Callable[[Any], Any]]] = {
        "tests": lambda fields: TestCase.model_construct(**fields),
        "completions": str,
        "decodings": lambda fields: DecodingRequest.model_construct(**fields),
    }


def _built(model: type[BaseModel], parts: Iterable[tuple[str, Any]]) -> BaseModel:
    builder = _Builder()
    for kind, content in parts:
        builder.add(kind, content)
    return builder.batch() if model is ScoreRequest else RunCode.model_construct(**builder.fields)
