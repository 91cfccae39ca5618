"""Files that a test gives to a program, or expects of it: text by name, in the folder that the program runs in."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

#: Of one test, given and expected ones each.
MAX_FILES = 64
MAX_BYTES = 4 << 20
_NAME = re.compile(r"(?!.*(^|/)\.{1,2}(/|$))[\w.-]+(/[\w.-]+)*", re.ASCII)
_MAX_NAME = 200
_TAKEN = ("solution.py", "solution.js")


def _checked(files: dict[str, str]) -> dict[str, str]:
    """Raises ValueError for a name that leads out of the folder, and for more than a test may have."""
    if len(files) > MAX_FILES:
        raise ValueError(f"{len(files)} files; a test may have {MAX_FILES}")
    for name in files:
        if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a file; write a relative path of letters, digits and ._-")
        if name in _TAKEN:
            raise ValueError(f"{name!r} is the program's own file; choose another name")
    for name in files:
        if any(other.startswith(f"{name}/") for other in files):
            raise ValueError(f"{name!r} is a file and a folder; choose another name")
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in files.values())
    if size > MAX_BYTES:
        raise ValueError(f"{size} bytes of files; a test may have {MAX_BYTES}")
    return files


ProgramFiles = Annotated[dict[str, str], AfterValidator(_checked)]
