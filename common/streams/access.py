"""What the user of ``streams.url`` may do: asked before a run starts, with commands that change nothing."""

from __future__ import annotations

from collections.abc import Iterator

import redis

from common.streams.connection import StreamError
from common.streams.names import CONSUMER_GROUPS, DEAD_LETTERS, HASHES
from common.streams.streams import Streams

#: A consumer group and a message that no stream has.
_NOBODY, _NOTHING = "nobody", "0-1"


def check_access(streams: Streams) -> None:
    """Raise StreamError that names the first command and key that the server's access list forbids."""
    commands = list(_commands(streams))

    def ask() -> None:
        with streams.client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
            replies = pipeline.execute(raise_on_error=False)
        for (name, *words), reply in zip(commands, replies, strict=True):
            if isinstance(reply, redis.exceptions.NoPermissionError):
                key = next((word for word in words if word.startswith("couplet:")), "")
                raise StreamError(
                    f"streams.url: its user may not do {name} {key}".rstrip()
                    + f" ({reply}); a run needs all commands of streams, hashes, keys, transactions and INFO on "
                    "couplet:*, as in: ACL SETUSER NAME ~couplet:* +@stream +@hash +@keyspace +@transaction "
                    "+@connection +info"
                )

    streams.patience.call("a check of what its user may do", ask)


def _commands(streams: Streams) -> Iterator[tuple[str, ...]]:
    """Yield the commands of a run, in forms that fail or do nothing, so that only their denial means anything.

    Those of :meth:`Streams.create` are left out: it has done them.
    """
    yield ("INFO", "server")
    yield from (("MULTI",), ("EXEC",))
    for name in (*CONSUMER_GROUPS, DEAD_LETTERS):
        key = streams.key(name)
        yield ("XADD", key, "0-0", "field", "value")  # of this id there never is a message
        yield ("XDEL", key, _NOTHING)
        yield ("XLEN", key)
        yield ("XRANGE", key, "-", "-")
        yield _expire(key)
    for name in CONSUMER_GROUPS:
        key = streams.key(name)
        yield ("XREADGROUP", "GROUP", _NOBODY, _NOBODY, "STREAMS", key, ">")
        yield ("XPENDING", key, _NOBODY)
        yield ("XCLAIM", key, _NOBODY, _NOBODY, "0", _NOTHING)
        yield ("XACK", key, _NOBODY, _NOTHING)
        yield ("XINFO", "GROUPS", key)
    for name in HASHES:
        key = streams.key(name)
        yield ("HSET", key, ":access", "")
        yield ("HSETNX", key, ":access", "")
        yield ("HGET", key, ":access")
        yield ("HGETALL", key)
        yield ("HEXISTS", key, ":access")
        yield ("HDEL", key, ":access")
        yield _expire(key)


def _expire(key: str) -> tuple[str, ...]:
    return ("EXPIRE", key, "0", "GT")  # now, and later than it would anyway: never
