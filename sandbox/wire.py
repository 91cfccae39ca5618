"""Encodes requests on the host. Bodies are marshal data: the host is trusted, and a fork reads them at no cost."""

from __future__ import annotations

import importlib.util
import marshal
from collections.abc import Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

from sandbox.inside import protocol
from sandbox.ready_tests import compiled_call, compiled_tests, counted_source
from sandbox.types import Case, Limits, Program

_GRACE_S = protocol.SETUP_S + 5.0
BYTE_CODE = importlib.util.MAGIC_NUMBER.hex()


@dataclass(frozen=True)
class Request:
    """The work of one fork, as :meth:`sandbox.link.Link.ask` takes it."""

    header: dict[str, Any]
    payload: bytes
    given: bytes
    deadline_s: float


def request(
    program: Program,
    cases: Sequence[Case],
    limits: Limits,
    left: tuple[float, float, int],
    byte_code: str,
    stepwise: bool = False,
) -> Request:
    """Encode ``cases`` of one kind: several only where they need no folder of their own.

    ``stepwise``: whether the runner waits, after each input but the last, to hear whether to go on.
    ``left``: seconds of CPU and of wall time, and bytes, of the program's budget. ``byte_code`` is the magic
    number of the runner's interpreter.
    """
    ready = byte_code == BYTE_CODE
    kind = cases[0].kind
    solution: dict[str, Any] = {"source": program.source}
    given = b""
    inputs: list[bytes] = []
    mode: str = kind
    if kind == "stdin":
        inputs = [case.stdin.encode("utf-8", "replace") for case in cases]
        given = b"".join(inputs)
    elif kind == "call":
        solution["calls"] = [compiled_call(case.call) if ready else case.call for case in cases]
    else:
        mode = "forge" if program.in_process else "split"
        texts = [program.test_setup, *(case.script for case in cases)]
        tests = {
            "setup": _tests(program.test_setup, "test_setup.py", ready) if program.test_setup else "",
            "exports": list(program.exports),
            "scripts": [_tests(case.script, "test.py", ready) for case in cases],
            "changes": [case.changes for case in cases],
            "arrays": any("numpy" in text for text in texts),
            "draws": program.in_process or any("random" in text or "numpy" in text for text in texts),
        }
        given = marshal.dumps(tests)
    if cases[0].has_files:
        solution |= {"files": dict(cases[0].files), "collected": list(cases[0].collected)}
    results = 1 if kind == "stdin" else 2 + len(cases)  # READY, and LOADED before the answers
    results += bool(cases[0].collected)
    return Request(
        header={
            "limits": {name: getattr(limits, name) for name in limits.__slots__},
            "budget": left,
            "results": results,
            "mode": mode,
            "language": program.language,
            "inputs": [len(each) for each in inputs],
            "stepwise": stepwise,
        },
        payload=marshal.dumps(solution),
        given=given,
        # The runner's own limits come first; after this the host gives the runner up.
        deadline_s=min(limits.wall_s * results, left[1]) + _GRACE_S,
    )


def _tests(source: str, name: str, ready: bool) -> CodeType | str:
    return compiled_tests(source, name) if ready else counted_source(source)
