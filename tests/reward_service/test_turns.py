"""Many requests at once hold up nobody who asks for little: counted in rounds of the event loop, not seconds."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from starlette.types import Message, Receive, Scope, Send

from common.records import Verdict
from reward_service.http.batch import pieces_of
from reward_service.http.guard import Guard
from reward_service.http.models import GroupLine, SampleScore
from reward_service.http.turns import Turns


def _request(path: str) -> Scope:
    return {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}


def test_the_loop_goes_round_between_two_requests_and_health_waits_for_none() -> None:
    done: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        done.append(scope["path"])

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None: ...

    async def requests() -> None:
        guard = Guard(app, None, ("/healthz",), max_body=10, turns=Turns())
        many = [asyncio.ensure_future(guard(_request(f"/{number}"), receive, send)) for number in range(20)]
        health = asyncio.ensure_future(guard(_request("/healthz"), receive, send))
        while not all(one.done() for one in many):
            done.append("round")
            await asyncio.sleep(0)
        await health

    asyncio.run(requests())
    paths = [each for each in done if each != "round"]
    assert paths == ["/healthz", *(f"/{number}" for number in range(20))], "first come, first served"
    assert not any("round" not in pair for pair in pairwise(done[done.index("/healthz") + 1 :]))


def test_a_line_in_pieces_is_the_line() -> None:
    score = SampleScore(
        reward=1.5,
        components={"tests": 1.0},
        verdicts=(Verdict.PASSED,) * 5_000,
        excluded=False,
        forgeable=False,
        notes=("é",) * 5_000,
    )
    for scores in (None, [], [score], [score] * 3):
        line = GroupLine(id='[]"', scores=scores, error=None if scores else "x")
        pieces = list(pieces_of(line))
        assert "".join(pieces) == f"{line.model_dump_json(exclude_none=True)}\n"
        assert len(pieces) == (5 if scores and len(scores) == 3 else 1)
