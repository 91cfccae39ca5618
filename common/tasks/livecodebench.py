"""LiveCodeBench rows (``code_generation`` and its ``lite`` form): problems of contests, with their tests."""

from __future__ import annotations

import base64
import binascii
import pickletools
import zlib
from collections.abc import Mapping
from typing import Any

from common.records import Task, TestCase
from common.tasks.asserts import UnusableTestError
from common.tasks.contest import PRELUDE, call_test, exports_of_call, question, stdin_test
from common.tasks.json_fields import parsed, read_json
from common.tasks.rows import ParsedRow, SkippedRowError, TaskRow

_PUBLIC, _PRIVATE, _METADATA = "public_test_cases", "private_test_cases", "metadata"
_MAX_BYTES = 1 << 29
# What a pickle of one string is made of. None of these makes an object of a class, or calls anything.
_TEXTS = frozenset({"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"})
_OF_A_STRING = _TEXTS | {"PROTO", "FRAME", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "STOP"}


def livecodebench_task(row: TaskRow) -> ParsedRow:
    """Make a chat question; the tests are the public ones, which it shows, and the private ones.

    Functional tests call the function that ``metadata.func_name`` names, which may be a method of ``Solution``.
    """
    text = row.required_text("question_content")
    starter = row.text("starter_code") or ""
    name = _function(row)
    if row.name_of(_PUBLIC, _PRIVATE) is None:
        raise row.error(_PUBLIC, f"is missing; give {_PUBLIC}, {_PRIVATE} or both")
    tests: list[TestCase] = []
    left_out: list[str] = []
    for place, case in _cases(row, _PUBLIC):
        _add(tests, left_out, row, place, case, name)
    shown = len(tests)
    for place, case in _cases(row, _PRIVATE):
        _add(tests, left_out, row, place, case, name)
    if not tests:
        raise SkippedRowError(f"no test can be used; {left_out[0] if left_out else 'it has none'}")
    task = Task(
        id=row.identifier(),
        family="livecodebench",
        prompt=question(text, starter),
        prefix=PRELUDE,
        completion="fenced",
        entry_point=name,
        tests=tuple(tests),
        exports=exports_of_call(name),
        shown_tests=shown,
    )
    return ParsedRow(task, tuple(left_out))


def _function(row: TaskRow) -> str | None:
    metadata = parsed(row, _METADATA)
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise row.error(_METADATA, f"is {type(metadata).__name__}; make it an object, or text that holds one")
    name = metadata.get("func_name")
    if name is None or name == "":
        return None
    if not isinstance(name, str) or not name.isidentifier():
        raise row.error(_METADATA, f"func_name is {name!r}; give the name of a function")
    return name


def _cases(row: TaskRow, field: str) -> list[tuple[str, Any]]:
    """List the tests of a field, each with its place in the row."""
    value = row.fields.get(field)
    if field == _PRIVATE and isinstance(value, str) and value.strip() and value.lstrip()[0] not in "[{":
        value = _unpacked(row, field, value)
    else:
        value = parsed(row, field)
    if value is None:
        return []
    if not isinstance(value, list):
        raise row.error(field, f"is {type(value).__name__}; make it a list of tests, or text that holds one")
    return [(f"{field}.{number}", case) for number, case in enumerate(value)]


def _unpacked(row: TaskRow, field: str, packed: str) -> Any:
    """Read tests that were packed: JSON, pickled as a string, compressed with zlib, in base 64."""
    try:
        pickled = _decompressed(base64.b64decode(packed, validate=True))
        return read_json(_unpickled_text(pickled))
    except (binascii.Error, zlib.error, ValueError) as error:
        raise row.error(
            field,
            f"is neither JSON nor JSON in a pickled string, compressed, in base 64 ({error}); download it again",
        ) from error


def _decompressed(data: bytes) -> bytes:
    reader = zlib.decompressobj()
    found = reader.decompress(data, _MAX_BYTES)
    if reader.unconsumed_tail:
        raise ValueError(f"more than {_MAX_BYTES:,} bytes")
    if not reader.eof:
        raise ValueError("cut off")
    return found


def _unpickled_text(data: bytes) -> str:
    """Read the string that a pickle is of, without running the pickle, which could call anything."""
    found: list[str] = []
    try:
        for operation, argument, _ in pickletools.genops(data):
            if operation.name not in _OF_A_STRING:
                raise ValueError(f"its pickle holds more than a string ({operation.name})")
            if operation.name in _TEXTS and isinstance(argument, str):
                found.append(argument)
    except UnicodeDecodeError as error:
        raise ValueError(f"its pickled string is not UTF-8 ({error})") from error
    if len(found) != 1:
        raise ValueError("its pickle is not of one string")
    return found[0]


def _add(
    tests: list[TestCase], left_out: list[str], row: TaskRow, place: str, case: object, name: str | None
) -> None:
    """Add a test to those of the task, or why it cannot be run to what is left out. Raises TaskFileError."""
    if not isinstance(case, Mapping):
        raise row.error(place, f"is {type(case).__name__}; make it an object with input and output")
    given, expected = (_text(row, f"{place}.{part}", case.get(part)) for part in ("input", "output"))
    kind = case.get("testtype") or ("stdin" if name is None else "functional")
    if kind == "stdin":
        tests.append(stdin_test(given, expected))
        return
    if kind != "functional":
        raise row.error(f"{place}.testtype", f"is {kind!r}; give stdin or functional")
    if name is None:
        raise row.error(_METADATA, f"names no func_name, which {place} calls; give it")
    arguments = [_json(row, f"{place}.input", line) for line in given.split("\n") if line.strip()]
    value = _json(row, f"{place}.output", expected)
    try:
        tests.append(call_test(name, arguments, value, "contest"))
    except UnusableTestError as error:
        left_out.append(f"{place}: {error}")


def _text(row: TaskRow, field: str, value: object) -> str:
    if not isinstance(value, str):
        raise row.error(
            field, "is missing; give it" if value is None else f"is {type(value).__name__}; make it a string"
        )
    return value


def _json(row: TaskRow, field: str, text: str) -> Any:
    try:
        return read_json(text)
    except ValueError as error:
        raise row.error(field, f"is not JSON ({error}); write a value a line") from error
