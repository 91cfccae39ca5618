"""Files of records, one a line, that a process may be killed while it writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from common.errors import UserError

_Record = TypeVar("_Record", bound=BaseModel)


def append_lines(path: Path, records: Iterable[BaseModel]) -> None:
    """Add records to the end of a file."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{record.model_dump_json()}\n" for record in records)


def read_lines(path: Path, kind: type[_Record]) -> Iterator[_Record]:
    """Read records one at a time, of a file that need not be there; a last line that is torn is left out.

    Raises UserError for a line that is no record.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):
                yield parse_line(path, number, line, kind)


def parse_line(path: Path, number: int, line: bytes, kind: type[_Record]) -> _Record:
    """Read the record on a line. Raises UserError where there is none."""
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"{part}: " for part in first["loc"])
        raise UserError(
            f"{path}, line {number}: is no record of this version of Couplet: {place}{first['msg']}; evaluate the "
            "model again, into an empty folder"
        ) from error


def drop_torn_line(path: Path) -> None:
    """Cut off what a killed process wrote of its last line."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        length = whole = 0
        for line in file:
            length += len(line)
            if line.endswith(b"\n"):
                whole = length
        if whole < length:
            file.truncate(whole)
