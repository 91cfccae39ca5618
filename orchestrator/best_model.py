"""The best weights of a run so far, by a held-out measure: ``run.keep_best``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

_FACTS = "best.json"


class BestModel:
    """Keep the model of the best evaluation in a folder, with its step and value in ``best.json``.

    The folder is replaced as a whole, so that a process may be killed at any moment, and a resumed run goes on
    with the best that it finds there.
    """

    def __init__(self, folder: Path, higher_is_better: bool) -> None:
        self._folder = folder
        self._higher = higher_is_better
        self._new, self._old = (folder.with_name(f".{folder.name}.{state}") for state in ("new", "old"))

    def offer(self, step: int, value: float, export: Callable[[Path], None]) -> bool:
        """Keep the weights of ``step`` if ``value`` is better than that of those kept; return whether it is.

        ``export`` writes them into a folder that it makes. An equal value does not replace the earlier one, and
        NaN nothing.
        """
        self._settle()
        best = self._best()
        if value != value or (best is not None and not (value > best if self._higher else value < best)):
            return False
        export(self._new)
        (self._new / _FACTS).write_text(json.dumps({"step": step, "value": value}) + "\n")
        if self._folder.exists():
            self._folder.rename(self._old)
        self._new.rename(self._folder)
        shutil.rmtree(self._old, ignore_errors=True)
        return True

    def _settle(self) -> None:
        """Undo or end what a kill left half-done."""
        if self._old.exists() and not self._folder.exists():
            self._old.rename(self._folder)
        for left_over in (self._old, self._new):
            shutil.rmtree(left_over, ignore_errors=True)

    def _best(self) -> float | None:
        """Return the value of the weights that are kept, None where there are none."""
        file = self._folder / _FACTS
        return float(json.loads(file.read_text())["value"]) if file.is_file() else None
