"""The formats of task rows, and how a row's fields tell them apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from common.tasks.assert_rows import assert_task
from common.tasks.bigcodebench import bigcodebench_task
from common.tasks.built import Built
from common.tasks.evalplus import humaneval_plus_task, mbpp_plus_task
from common.tasks.humaneval import humaneval_task
from common.tasks.own import own_task
from common.tasks.rows import Row, TaskFileError


@dataclass(frozen=True)
class Format:
    """``fields``: a row that has all of these is of this format; none if it has to be asked for by name."""

    about: str
    fields: tuple[str, ...]
    build: Callable[[Row], Built]


#: By name. The first whose fields a row has is its format.
FORMATS: dict[str, Format] = {
    "couplet": Format("this project's own", ("tests",), own_task),
    "mbpp+": Format("EvalPlus", ("base_input", "assertion"), mbpp_plus_task),
    "humaneval+": Format("EvalPlus", ("base_input", "canonical_solution"), humaneval_plus_task),
    "bigcodebench": Format("complete form", ("complete_prompt", "test"), bigcodebench_task),
    "humaneval": Format("a check(candidate)", ("canonical_solution", "test"), humaneval_task),
    "acecode": Format("a question with asserts", ("test_cases",), assert_task),
    "mbpp": Format("also sanitized", ("test_list",), assert_task),
    "mbpp+base": Format("EvalPlus, without the plus inputs", (), partial(mbpp_plus_task, plus=False)),
    "humaneval+base": Format("EvalPlus, without the plus inputs", (), partial(humaneval_plus_task, plus=False)),
    "bigcodebench-instruct": Format("instruct form", (), partial(bigcodebench_task, instruct=True)),
}


def format_named(name: str) -> Format:
    """Raises :class:`TaskFileError` with the names there are."""
    if name not in FORMATS:
        raise TaskFileError(f"format {name!r} is unknown; choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def format_of(row: Row) -> str:
    """The name of the row's format. Raises :class:`TaskFileError` with what each one is known by."""
    for name, known in FORMATS.items():
        if known.fields and all(row.fields.get(field) is not None for field in known.fields):
            return name
    signs = "; ".join(f"{name}: {', '.join(known.fields)}" for name, known in FORMATS.items() if known.fields)
    has = ", ".join(row.fields) or "no fields"
    raise TaskFileError(
        f"{row.path}, {row.place}: of no known format, it has {has}; rename its fields to those of one ({signs})"
    )
