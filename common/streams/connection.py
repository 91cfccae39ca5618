"""Clients of the server that holds a run's streams."""

from __future__ import annotations

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from common.config import without_password
from common.errors import UserError

#: No reply within this time: the connection is given up. Nothing that a run asks for takes nearly as long.
_REPLY_SECONDS = 10.0
_CONNECT_SECONDS = 5.0
_FIRST_TRIES = Retry(ExponentialBackoff(cap=1.0, base=0.05), retries=4)


class StreamError(UserError, RuntimeError):
    """Redis cannot be used: not reachable, wrong address, or refused."""


def open_client(url: str, timeout: float = _REPLY_SECONDS) -> redis.Redis:
    """Make a client of the server at ``url``, which need not answer yet. Raises :class:`StreamError`.

    It repeats nothing by itself, since it does not know what may be repeated; ``timeout`` in seconds.
    """
    try:
        return redis.Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=_CONNECT_SECONDS, retry=Retry(NoBackoff(), 0)
        )
    except ValueError as error:
        raise StreamError(f"streams.url: not a Redis address: {error}") from error


def connect(url: str, timeout: float = _REPLY_SECONDS) -> redis.Redis:
    """Connect to the server at ``url``. Raises :class:`StreamError` where no server answers within seconds."""
    client = open_client(url, timeout)
    try:
        _FIRST_TRIES.call_with_retry(client.ping, lambda _: None)
    except redis.BusyLoadingError:
        pass  # it answers: what it is asked next waits until its data is loaded
    except redis.RedisError as error:
        raise StreamError(
            f"streams.url {without_password(url)}: no Redis answers ({error}); start one, correct the address, "
            "or use 'embedded'"
        ) from error
    return client
