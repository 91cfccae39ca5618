"""The process that reads large bodies of requests: ``python -P -m reward_service.http.body_process SOCKET``.

Reading JSON and checking it against a model hold the lock that all threads of a process wait for: a second for
2 MB of tests. Here they hold nobody else's, and what was checked goes back in parts, each of them short work.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from pydantic import BaseModel, ValidationError

from reward_service.http.models import GroupRequest, ScoreRequest
from reward_service.http.sandbox_fusion import RunCode
from reward_service.reading.serving import cpu_bounded, serve

#: Of CPU time, for one body.
CPU_SECONDS = 10.0
_NICENESS = 10
#: Items of a list in one part.
PART = 500
#: A group's exports and metadata, encoded, which travel in one part.
MAX_FIELDS_BYTES = 1 << 20
MODELS: dict[str, type[BaseModel]] = {model.__name__: model for model in (ScoreRequest, RunCode)}


def answer(asked: bytes) -> Iterator[bytes]:
    """Read a body, behind the name of its model and a line feed; answer with its parts, or what is wrong."""
    name, _, body = asked.partition(b"\n")
    with cpu_bounded(CPU_SECONDS):
        try:
            parts = _checked(MODELS[name.decode()], body)
            yield from map(_encoded, parts)
        except (RecursionError, MemoryError):
            yield _encoded(("too deep", None))


def _checked(model: type[BaseModel], body: bytes) -> Iterable[tuple[str, Any]]:
    try:
        found = model.model_validate(json.loads(body))
    except json.JSONDecodeError as error:
        return [("not JSON", error.msg)]
    except UnicodeDecodeError:
        return [("not JSON", "it is not UTF-8")]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        return [("wrong", {"type": first["type"], "loc": list(first["loc"]), "msg": first["msg"]})]
    except ValueError as error:  # a number of very many digits
        return [("not JSON", str(error))]
    if isinstance(found, ScoreRequest):
        return _batch(found)
    assert isinstance(found, RunCode)
    # Neither is offered: that something was asked for is all that counts.
    short = {"files": dict.fromkeys(list(found.files)[:1]), "fetch_files": found.fetch_files[:1]}
    return [("fields", found.model_dump() | short)]


def _batch(found: ScoreRequest) -> Iterator[tuple[str, Any]]:
    for index, group in enumerate(found.groups):
        if len(_encoded(("", [group.task.exports, group.task.metadata]))) > MAX_FIELDS_BYTES:
            message = f"exports and metadata have more than {MAX_FIELDS_BYTES} bytes; leave out what nothing reads"
            yield "wrong", {"type": "too_long", "loc": ["groups", index, "task", "metadata"], "msg": message}
            return
    yield "fields", {"deadline_s": found.deadline_s}
    for group in found.groups:
        yield from _group(group)


def _group(group: GroupRequest) -> Iterator[tuple[str, Any]]:
    task = group.task.model_dump(exclude={"tests"})
    yield "group", {"id": group.id, "task": task, "decodings": group.decodings is not None}
    yield from (("tests", [test.model_dump() for test in some]) for some in _some(group.task.tests))
    yield from (("completions", some) for some in _some(group.completions))
    yield from (("decodings", [one.model_dump() for one in some]) for some in _some(group.decodings or ()))


def _encoded(part: tuple[str, Any]) -> bytes:
    return json.dumps(part, ensure_ascii=False).encode()


def _some(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + PART] for start in range(0, len(items), PART))


if __name__ == "__main__":
    # Looking for garbage among millions of new objects takes longer than making them; they form no cycles.
    gc.disable()
    # Whoever sends large bodies waits for whoever asks for little.
    os.nice(_NICENESS)
    serve(Connection(int(sys.argv[1])), answer)
