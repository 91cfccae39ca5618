"""The formats of task rows, and how a row's fields tell them apart.

A format of your own is a function from a :class:`TaskRow` to a :class:`ParsedRow`, named by its path or, in an
installed package, by an entry point ``task_format.NAME``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

from common.plugins import PluginError, load_plugin
from common.tasks.apps import apps_task
from common.tasks.assert_rows import assert_task
from common.tasks.bigcodebench import bigcodebench_task
from common.tasks.cruxeval import cruxeval_task
from common.tasks.evalplus import humaneval_plus_task, mbpp_plus_task
from common.tasks.humaneval import humaneval_task
from common.tasks.humaneval_infilling import humaneval_infilling_task
from common.tasks.livecodebench import livecodebench_task
from common.tasks.mbpp_script import mbpp_script_task
from common.tasks.open_r1 import open_r1_task
from common.tasks.own import own_task
from common.tasks.rows import ParsedRow, TaskFileError, TaskRow
from common.tasks.verl import verl_task

Parse = Callable[[TaskRow], ParsedRow]


@dataclass(frozen=True)
class TaskFormat:
    """A format of ours. A row that has all ``fields`` is of it; without any, it has to be asked for by name."""

    fields: tuple[str, ...]
    parse: Parse


OWN_FORMAT = "couplet"
_LISTED = 20
#: By name. The first whose fields a row has is its format.
FORMATS: dict[str, TaskFormat] = {
    OWN_FORMAT: TaskFormat(("tests",), own_task),
    "mbpp+": TaskFormat(("base_input", "assertion"), mbpp_plus_task),
    "humaneval+": TaskFormat(("base_input", "canonical_solution"), humaneval_plus_task),
    "bigcodebench": TaskFormat(("complete_prompt", "test"), bigcodebench_task),
    "humaneval-infilling": TaskFormat(("suffix", "canonical_solution", "test"), humaneval_infilling_task),
    "humaneval": TaskFormat(("canonical_solution", "test"), humaneval_task),
    "acecode": TaskFormat(("test_cases",), assert_task),
    "mbpp+hub": TaskFormat(("test_list", "test", "code"), mbpp_script_task),
    "mbpp": TaskFormat(("test_list",), assert_task),
    "livecodebench": TaskFormat(("question_content", "public_test_cases"), livecodebench_task),
    "apps": TaskFormat(("question", "input_output"), apps_task),
    "verl": TaskFormat(("prompt", "reward_model"), verl_task),
    "open-r1": TaskFormat(("prompt", "verification_info"), open_r1_task),
    "cruxeval-o": TaskFormat(("code", "input", "output"), partial(cruxeval_task, wanted="output")),
    "cruxeval-i": TaskFormat((), partial(cruxeval_task, wanted="input")),
    "mbpp+base": TaskFormat((), partial(mbpp_plus_task, plus=False)),
    "humaneval+base": TaskFormat((), partial(humaneval_plus_task, plus=False)),
    "bigcodebench-instruct": TaskFormat((), partial(bigcodebench_task, instruct=True)),
}


def parser_of(name: str, field: str) -> Parse:
    """Return the function that parses rows of a format: one of ours, an installed one, or ``module:name``.

    Raises :class:`TaskFileError` with the names there are; ``field`` says there where the name was given.
    """
    if name in FORMATS:
        return FORMATS[name].parse
    try:
        parse = load_plugin("task_format", name, known=FORMATS)
    except PluginError as error:
        raise TaskFileError(f"{field}: {error}") from error
    if not callable(parse):
        raise TaskFileError(f"{field}: {name} is {type(parse).__name__}; name a function from a row to a task")
    return cast("Parse", parse)


def format_of(row: TaskRow) -> str:
    """Tell a row's format by its fields. Raises :class:`TaskFileError` with what each one is known by."""
    for name, known in FORMATS.items():
        if known.fields and all(row.fields.get(field) is not None for field in known.fields):
            return name
    for name, known in FORMATS.items():
        empty = [field for field in known.fields if field in row.fields and row.fields[field] is None]
        if empty and all(field in row.fields for field in known.fields):
            raise row.error(
                empty[0], f"is null, and a row of the format {name} needs it; give it, or leave the row out"
            )
    signs = "; ".join(f"{name}: {', '.join(known.fields)}" for name, known in FORMATS.items() if known.fields)
    filled = [field for field, value in row.fields.items() if value is not None]
    has = ", ".join([*filled[:_LISTED], *(["..."] * (len(filled) > _LISTED))]) or "no fields"
    raise TaskFileError(
        f"{row.path}, {row.place}: of no known format, it has {has}; rename its fields to those of one ({signs})"
    )
