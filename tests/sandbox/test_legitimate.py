"""Honest programs work, whatever they use of the language and its library.

All of them run at the strongest level; the others run those that a level could break by what it alone does.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sandbox.types import Limits, Outcome
from tests.sandbox import levels, programs

ELSEWHERE = {
    "temporary_files",
    "threads",
    "large_memory",
    "sockets_of_its_own",
    "opens_dev_stdin",
    "database_on_disk",
    "reads_its_own_file",
    "sets_the_locale",
    "raises_its_stack",
}
PROGRAMS = {program.name: program for program in programs.legitimate()}
PAIRS = [
    pytest.param(level, name, id=f"{level}-{name}")
    for level in levels.NAMES
    for name in (PROGRAMS if level == levels.STRONGEST else sorted(ELSEWHERE))
]


@pytest.mark.parametrize(("level", "name"), PAIRS)
def test_an_honest_program(backend_at: Callable[[str], levels.Backend], level: str, name: str) -> None:
    program = PROGRAMS[name]
    (run,) = backend_at(level).sandbox.run(program.program(), Limits(cpu_s=10, wall_s=60, memory_mb=512))
    assert (run.stdout.decode().strip(), run.exit_code) == (program.prints, program.exit_code), run
    assert run.outcome is (Outcome.ERROR if program.exit_code else Outcome.OK)
