"""Large bodies are read in a process of their own, and wrong ones cost no more than their first mistake."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from reward_service.http.bodies import BodyReader
from reward_service.http.body_process import PART
from reward_service.http.errors import RefusedError
from reward_service.http.guard import Guard
from reward_service.http.models import MAX_COMPLETION, GroupRequest, ScoreRequest
from reward_service.http.sandbox_fusion import RunCode
from reward_service.http.turns import Turns

_TASK = {"id": "t", "prompt": "p", "tests": [{"call": "f()", "expected": "1"}]}
_MANY = 1000


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (ScoreRequest, {"groups": [1] * _MANY}),
        (GroupRequest, {"id": "g", "task": _TASK, "completions": [1] * _MANY}),
        (GroupRequest, {"id": "g", "task": _TASK, "completions": ["x"], "decodings": [1] * _MANY}),
        (GroupRequest, {"id": "g", "task": _TASK | {"tests": [{"a": 1}] * _MANY}, "completions": ["x"]}),
    ],
    ids=["groups", "completions", "decodings", "tests"],
)
def test_a_list_is_refused_at_its_first_bad_item(model: Any, body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        model.model_validate(body)
    assert refused.value.error_count() == 1


@pytest.fixture(scope="module")
def reader() -> Iterator[BodyReader]:
    made = BodyReader()
    yield made
    made.close()


def read(reader: BodyReader, model: type[BaseModel], body: bytes) -> BaseModel:
    return asyncio.run(reader.read(model, body))


def test_a_batch_arrives_as_if_it_had_been_read_here(reader: BodyReader) -> None:
    count = 2 * PART + 1
    tests: list[dict[str, Any]] = [{"call": f"f({i})", "expected": "'é\ud83d\ude00'"} for i in range(count)]
    tests[7] |= {"comparison": "close", "tolerance": 1e-9, "files": {"in.txt": "x"}}
    task = _TASK | {"tests": tests, "exports": ["f"], "metadata": {"rate": 0.1, "large": 1 << 80, "none": None}}
    decodings = [{"tokens": i, "forwards": 1} for i in range(count)]
    groups: list[dict[str, Any]] = [
        {"id": "a", "task": task, "completions": [f"c{i}" for i in range(count)], "decodings": decodings},
        {"id": "b", "task": _TASK | {"reference": "\u2028"}, "completions": ["\0"]},
    ]
    body: dict[str, Any] = {"groups": groups, "deadline_s": 2.5}
    sent = json.dumps(body)
    found = read(reader, ScoreRequest, sent.encode())
    assert found.model_dump() == ScoreRequest.model_validate(json.loads(sent)).model_dump()
    assert isinstance(found, ScoreRequest)
    assert hash(found.groups[0].task.tests[7].expected) == hash("'é\U0001f600'")
    program: dict[str, Any] = {"code": "x" * 100_000, "language": "python", "stdin": "1", "memory_limit_MB": 64}
    assert read(reader, RunCode, json.dumps(program).encode()) == RunCode.model_validate(program)
    files = program | {"files": {str(i): i for i in range(1000)}, "fetch_files": ["a", "b"]}
    run = read(reader, RunCode, json.dumps(files).encode())
    assert isinstance(run, RunCode)
    assert (len(run.files), len(run.fetch_files)) == (1, 1), "they are refused, however many there are"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (json.dumps({f"key{i}": 1 for i in range(10_000)}), ("body", "groups")),
        (
            json.dumps({"groups": [{"id": "g", "task": _TASK, "completions": [1]}]}),
            ("body", "groups", 0, "completions", 0),
        ),
        (
            json.dumps(
                {
                    "groups": [
                        {"id": "g", "task": _TASK | {"metadata": {"x": "y" * (1 << 20)}}, "completions": ["x"]}
                    ]
                }
            ),
            ("body", "groups", 0, "task", "metadata"),
        ),
        (
            json.dumps({"groups": [{"id": "g", "task": _TASK, "completions": ["", "x" * (MAX_COMPLETION + 1)]}]}),
            ("body", "groups", 0, "completions", 1),
        ),
        ('{"groups": [', ("body",)),
        ('{"groups": "\xff"}', ("body",)),
        ('{"groups": ' + "9" * 5000 + "}", ("body",)),
    ],
    ids=["unknown keys", "completion", "metadata", "long completion", "cut", "not UTF-8", "digits"],
)
def test_what_is_wrong_with_a_body_is_one_error(reader: BodyReader, body: str, place: tuple[Any, ...]) -> None:
    with pytest.raises(RequestValidationError) as refused:
        read(reader, ScoreRequest, body.encode("latin-1"))
    (problem,) = refused.value.errors()
    assert problem["loc"] == place


def test_a_body_that_exceeds_its_process_is_refused_and_the_next_is_read(reader: BodyReader) -> None:
    for body in (b"[" * 1_000_000, b"[" + b"[]," * 15_000_000 + b"[]]"):
        with pytest.raises(RefusedError) as refused:
            read(reader, ScoreRequest, body)
        assert refused.value.status_code in (400, 413)
    assert read(reader, RunCode, b'{"code": "", "language": "python"}')


def test_the_event_loop_goes_on_while_a_body_is_read(reader: BodyReader) -> None:
    """Counted in turns that the loop takes meanwhile, not in seconds."""
    group = {
        "id": "g",
        "task": _TASK | {"tests": [{"call": "f()", "expected": "1"}] * 20_000},
        "completions": ["x"],
    }
    body = json.dumps({"groups": [group]}).encode()

    async def turns() -> int:
        reading = asyncio.ensure_future(reader.read(ScoreRequest, body))
        count = 0
        while not reading.done():
            await asyncio.sleep(0.001)
            count += 1
        await reading
        return count

    assert asyncio.run(turns()) > 20


def test_bodies_share_the_memory_there_is_for_them() -> None:
    taken = threading.Semaphore(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        taken.release()
        await scope["wait"].wait()

    async def exchange() -> list[int]:
        guard = Guard(app, None, (), max_body=10, turns=Turns())
        released = asyncio.Event()
        statuses: list[int] = []
        headers = [(b"content-type", b"application/json")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "headers": headers,
            "query_string": b"",
            "wait": released,
        }

        async def receive() -> Message:
            return {"type": "http.request", "body": b"x" * 10, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        holding = [asyncio.ensure_future(guard(scope, receive, send)) for _ in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(RefusedError) as refused:
            await guard(scope, receive, send)
        statuses.append(refused.value.status_code)
        released.set()
        await asyncio.gather(*holding)
        await guard(scope, receive, send)
        return statuses

    assert asyncio.run(exchange()) == [429]
    assert all(taken.acquire(blocking=False) for _ in range(5))
