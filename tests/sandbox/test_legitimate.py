"""Honest programs work at every level, whatever they use of the language and its library."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.types import Limits, Outcome
from tests.sandbox import levels, programs


@pytest.fixture(params=levels.NAMES, scope="module")
def backend(request: pytest.FixtureRequest) -> Iterator[levels.Backend]:
    with levels.opened(request.param, request) as opened:
        yield opened


@pytest.mark.parametrize("program", programs.legitimate(), ids=lambda program: program.name)
def test_an_honest_program(backend: levels.Backend, program: programs.Legitimate) -> None:
    (run,) = backend.sandbox.run(program.program(), Limits(cpu_s=10, wall_s=60, memory_mb=512))
    assert (run.stdout.decode().strip(), run.exit_code) == (program.prints, program.exit_code), run
    assert run.outcome is (Outcome.ERROR if program.exit_code else Outcome.OK)
