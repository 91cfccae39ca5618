"""Reasons why something failed, told to people in small numbers: the first of each kind, then their count."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable

#: What differs between the texts of the same mistake: what is quoted, and numbers.
_DETAIL = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\d+(?:[.,]\d+)*")
#: Different texts of a kind that are told.
_TEXTS = 3
#: Kinds that are told apart; further ones count as one.
_KINDS = 100


def kind_of(reason: str) -> str:
    """Return what reasons for the same mistake have in common: the text without what is quoted and numbers."""
    return _DETAIL.sub("…", reason)


def is_power_of_ten(count: int) -> bool:
    """Tell whether a count is worth another line: the 10th, the 100th, and so on."""
    return str(count).strip("0") == "1"


class FewReasons:
    """Tell ``note`` the first few reasons of each kind, and the counts 10, 100, ... of a kind. Thread-safe."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._texts: dict[str, set[str]] = {}

    def add(self, what: str, reason: str) -> None:
        """Count a reason for ``what`` became of something, such as ``a group is lost``."""
        kind = kind_of(f"{what}: {reason}")
        with self._lock:
            if kind not in self._counts and len(self._counts) >= _KINDS:
                kind = f"{what}: for many different reasons"
            self._counts[kind] += 1
            count, texts = self._counts[kind], self._texts.setdefault(kind, set())
            is_new = reason not in texts and len(texts) < _TEXTS
            texts |= {reason} if is_new else set()
        if is_new:
            self._note(f"{what}: {reason}")
        elif is_power_of_ten(count):
            self._note(f"{what}: {reason} ({count} times, such reasons)")
