"""Who may ask and how much: the bearer token and the size of a request, before anything else sees it."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection
from http import HTTPStatus

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reward_service.http.errors import answer_of_large_body, answer_of_status
from reward_service.http.models import BodyTooLargeError


class Guard:
    """ASGI middleware. ``token`` None asks for none; ``open_paths`` never do. ``max_body``: bytes."""

    def __init__(self, app: ASGIApp, token: str | None, open_paths: Collection[str], max_body: int) -> None:
        self._app = app
        self._token = None if token is None else token.encode()
        self._open_paths = frozenset(open_paths)
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        if not self._may(request):
            answer = answer_of_status(
                HTTPStatus.UNAUTHORIZED, "send the header 'Authorization: Bearer TOKEN' with the service's token"
            )
            answer.headers["www-authenticate"] = "Bearer"
            await answer(scope, receive, send)
        elif self._declared_size(request) > self._max_body:
            await answer_of_large_body(self._too_large())(scope, receive, send)
        else:
            await self._app(scope, self._counted(receive), send)

    def _may(self, request: Request) -> bool:
        if self._token is None or request.url.path in self._open_paths:
            return True
        scheme, _, said = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(said.strip().encode("latin-1"), self._token)
        return right and scheme.lower() == "bearer"

    @staticmethod
    def _declared_size(request: Request) -> int:
        text = request.headers.get("content-length", "0")
        return int(text) if text.isdecimal() else 0

    def _counted(self, receive: Receive) -> Receive:
        """A chunked body does not say how long it is."""
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._max_body:
                raise BodyTooLargeError(self._too_large())
            return message

        return counted

    def _too_large(self) -> str:
        return f"a request may have {self._max_body} bytes; split the batch"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
