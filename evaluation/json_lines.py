"""Files of records, one a line, that a process may be killed while it writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

_Record = TypeVar("_Record", bound=BaseModel)


def append_lines(path: Path, records: Iterable[BaseModel]) -> None:
    """Add records to the end of a file."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{record.model_dump_json()}\n" for record in records)


def read_lines(path: Path, kind: type[_Record]) -> Iterator[_Record]:
    """Read records one at a time, of a file that need not be there; a last line that is torn is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            if line.endswith("\n"):
                yield kind.model_validate_json(line)


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
