"""Check the token, the kind, the size and the time of a request before anything else reads it."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Collection
from contextlib import ExitStack
from http import HTTPStatus

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reward_service.http.errors import RefusedError, answer_error
from reward_service.http.turns import Turns

#: Seconds for a client to send its body.
BODY_SECONDS = 60.0
#: Bodies of the largest size that may be held at a time, of all requests together.
_LARGEST_AT_ONCE = 4
_RETRY_S = 5


class Guard:
    """ASGI middleware: the bearer token, the kind and the size of the body, and the time it may take.

    ``token`` None asks for none; ``open_paths`` never do, and wait for no turn. ``max_body``: bytes; all requests
    being answered together hold four times as many at most.
    """

    def __init__(
        self, app: ASGIApp, token: str | None, open_paths: Collection[str], max_body: int, turns: Turns
    ) -> None:
        self._app = app
        self._turns = turns
        self._token = None if token is None else token.encode()
        self._open_paths = frozenset(open_paths)
        self._max_body = max_body
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] not in self._open_paths:
            await self._turns.take()
        try:
            self._check(Request(scope))
        except RefusedError as error:
            await answer_error(error)(scope, receive, send)
            return
        with ExitStack() as held:
            await self._app(scope, self._bounded(receive, held), send)

    def _check(self, request: Request) -> None:
        """Raises RefusedError."""
        if not self._may(request):
            refused = RefusedError(
                HTTPStatus.UNAUTHORIZED, "send the header 'Authorization: Bearer TOKEN' with the service's token"
            )
            refused.headers = {"www-authenticate": "Bearer"}
            raise refused
        size = request.headers.get("content-length", "0")
        if size.isdecimal() and int(size) > self._max_body:
            raise self._too_large()
        # A page in a browser could send any other kind of content unasked.
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method == "POST" and kind != "application/json":
            raise RefusedError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "send JSON, with the header 'Content-Type: application/json'",
                type_="invalid_request",
            )

    def _may(self, request: Request) -> bool:
        if self._token is None or request.url.path in self._open_paths:
            return True
        scheme, _, said = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(said.strip().encode("latin-1"), self._token)
        return right and scheme.lower() == "bearer"

    def _bounded(self, receive: Receive, held: ExitStack) -> Receive:
        """Stop reading a body that is too long, which a chunked one does not say, or that does not end.

        What it has counts as held until ``held`` is closed.
        """
        size, ended = 0, False
        deadline = asyncio.get_running_loop().time() + BODY_SECONDS

        async def bounded() -> Message:
            nonlocal size, ended
            if ended:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                raise RefusedError(HTTPStatus.REQUEST_TIMEOUT, f"no whole body in {BODY_SECONDS:g} s") from error
            came = len(message.get("body", b""))
            size += came
            if size > self._max_body:
                raise self._too_large()
            self._hold(came)
            held.callback(self._hold, -came)
            ended = not message.get("more_body", False)
            return message

        return bounded

    def _hold(self, more: int) -> None:
        if more > 0 and self._held + more > _LARGEST_AT_ONCE * self._max_body:
            raise RefusedError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "the bodies of other requests take all the memory there is for them; try again later",
                type_="queue_full",
                retry_after=_RETRY_S,
            )
        self._held += more

    def _too_large(self) -> RefusedError:
        return RefusedError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"a request may have {self._max_body} bytes; split the batch",
            type_="body_too_large",
        )


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
