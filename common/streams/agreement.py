"""What the scorers of a run must agree on with it, in Redis: a hash of terms, and what each scorer says of them.

The run states its terms before it publishes anything. A scorer compares them with its own before it takes a group,
and again before it scores one, as the run may have been started anew with others.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import redis

from common.errors import UserError
from common.streams.names import TERMS
from common.streams.streams import Streams

#: Another word at each statement of a run.
_STATEMENT = b":statement"
_TERM, _SCORER = "term ", b"scorer "
_SHOWN = 3
_LOOK_SECONDS = 1.0


class DisagreementError(UserError):
    """A scorer would score a run's groups otherwise than the run asks for; the message names what differs."""


@dataclass(frozen=True)
class Terms:
    """What decides scores, by names that a user knows.

    ``code``: digests of files. Those that the machine of the run has not are of the first scorer that has them.
    """

    settings: Mapping[str, str]
    code: Mapping[str, str]

    @property
    def all(self) -> dict[str, str]:
        """Return both."""
        return {**self.settings, **self.code}


class StatedTerms:
    """The run's side: it states its terms, and hears what scorers say of them.

    ``note`` is told of each scorer that refuses. Where some do, and none agrees for ``patience_s`` seconds,
    :meth:`check` ends the run.
    """

    def __init__(self, streams: Streams, terms: Terms, note: Callable[[str], None], patience_s: float) -> None:
        self._streams = streams
        self._terms = terms
        self._note = note
        self._patience_s = patience_s
        self._told: set[bytes] = set()
        self._refused_since: float | None = None
        self._looked = 0.0

    def state(self) -> None:
        """State the terms, in place of those of an earlier attempt."""
        key = self._streams.key(TERMS)
        fields: dict[Any, Any] = {_TERM + name: value for name, value in self._terms.all.items()}
        fields[_STATEMENT] = secrets.token_hex(8)

        def state() -> None:
            with self._streams.client.pipeline(transaction=True) as transaction:
                transaction.delete(key)
                transaction.hset(key, mapping=fields)
                transaction.execute()

        self._streams.patience.call(f"HSET {key}", state)

    def check(self) -> None:
        """Look at what scorers say, once a second; state the terms again where Redis has lost them.

        Raises DisagreementError.
        """
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        said = _fields(self._streams)
        if _STATEMENT not in said:
            self.state()
            return
        answers = {name: text for name, text in said.items() if name.startswith(_SCORER)}
        refusals = {name: text.decode() for name, text in answers.items() if text}
        for name in sorted(refusals.keys() - self._told):
            self._note(f"does not score this run: {refusals[name]}")
        self._told |= refusals.keys()
        if len(refusals) < len(answers) or not refusals:
            self._refused_since = None
            return
        self._refused_since = now if self._refused_since is None else self._refused_since
        if now - self._refused_since >= self._patience_s:
            raise DisagreementError(
                f"{next(iter(refusals.values()))}; no other came within {self._patience_s:.0f} s "
                "(deadlines.start_seconds)"
            )


class ScorersTerms:
    """A scorer's side. ``name`` is its consumer's, and ``here`` says in messages who and where it is."""

    def __init__(self, streams: Streams, name: str, terms: Terms, here: str) -> None:
        self._streams = streams
        self._field = _SCORER + name.encode()
        self._terms = terms
        self._here = here
        self._agreed_to: bytes | None = None

    def agreed(self) -> bool:
        """Tell whether the run has stated terms, which are this scorer's. Raises DisagreementError."""
        key = self._streams.key(TERMS)
        statement: Any = self._streams.patience.call(
            f"HGET {key}", lambda: self._streams.client.hget(key, _STATEMENT.decode())
        )
        if statement is None:
            return False
        if statement != self._agreed_to:
            self._compare()
            self._agreed_to = statement
        return True

    def _compare(self) -> None:
        self._add_code_that_the_run_has_not()
        prefix, ours = _TERM.encode(), self._terms.all
        theirs = {
            name.removeprefix(prefix).decode(): value.decode()
            for name, value in _fields(self._streams).items()
            if name.startswith(prefix)
        }
        known = {**theirs, **self._terms.settings}
        differing = [name for name in known if theirs.get(name) != ours.get(name)]
        refusal = self._refusal(theirs, ours, differing) if differing else ""
        self._streams.set_if_room(TERMS, {self._field: refusal})
        if refusal:
            raise DisagreementError(refusal)

    def _refusal(self, theirs: Mapping[str, str], ours: Mapping[str, str], differing: list[str]) -> str:
        told = "; ".join(
            f"{name} is {theirs.get(name, 'missing')} for the run and {ours.get(name, 'missing')} here"
            for name in differing[:_SHOWN]
        )
        more = f"; and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        return (
            f"{self._here} would score otherwise than the run asks: {told}{more}; start the reward service with "
            "the recipe, overrides and code of the run, or the run with those of the service"
        )

    def _add_code_that_the_run_has_not(self) -> None:
        """Add digests that nobody has stated. A server whose memory is full takes none; scored groups free it."""
        key = self._streams.key(TERMS)

        def add() -> None:
            try:
                for name, value in self._terms.code.items():
                    self._streams.client.hsetnx(key, _TERM + name, value)
            except redis.exceptions.OutOfMemoryError:
                return

        self._streams.patience.call(f"HSETNX {key}", add)


def _fields(streams: Streams) -> dict[bytes, bytes]:
    key = streams.key(TERMS)
    found: Any = streams.patience.call(f"HGETALL {key}", lambda: streams.client.hgetall(key))
    return dict(found)
