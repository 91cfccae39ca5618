"""The files of a test: given to a program before it starts, and brought back when it has ended.

Both are done in the program's own process, with its rights and within its limits. What it brings back is what it
claims to have written, as its output is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from sandbox.inside import protocol, reports, values


@dataclass(frozen=True)
class Files:
    """``given``: text by name, relative to ``folder``. ``collected``: names of those to bring back."""

    given: dict[str, str] = field(default_factory=dict)
    collected: list[str] = field(default_factory=list)
    folder: str = ""

    def write(self) -> None:
        """Write the files that are given. Raises OSError where the limits leave no room."""
        for name, text in self.given.items():
            path = os.path.join(self.folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8", errors="replace", newline="") as file:
                file.write(text)

    def report(self, max_bytes: int) -> None:
        """Report the contents of the files that are collected, if any are."""
        if not self.collected:
            return
        try:
            contents = [_content(os.path.join(self.folder, name), max_bytes) for name in self.collected]
            reports.report(protocol.FILES + values.encode(contents, max_bytes))
        except (MemoryError, values.ValueRefusedError) as error:
            reports.report(reports.failure(error))


def _content(path: str, max_bytes: int) -> bytes | None:
    """Read a file, one byte past the limit at most; None where there is none that can be read."""
    try:
        with open(path, "rb") as file:
            return file.read(max_bytes + 1)
    except OSError:
        return None
