"""The folder of an evaluation: settings.json, samples.jsonl and summary.json."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from common.disk import write_text
from common.errors import UserError
from evaluation.samples import Sample


class EvaluationFolder:
    """Everything that an evaluation leaves behind; nothing in it is ever half-written but a last line.

    Raises UserError where there is an evaluation in it already.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._samples = path / "samples.jsonl"
        if any((path / name).exists() for name in ("settings.json", "samples.jsonl", "summary.json")):
            raise UserError(
                f"--output {path}: holds an evaluation already; name another folder, or remove this one"
            )

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Make the folder, with settings.json. Raises UserError where that is not possible."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._write("settings", settings)
        except OSError as error:
            raise UserError(f"--output {self.path}: cannot be written: {error}; name another folder") from error

    def append(self, samples: Iterable[Sample]) -> None:
        """Add whole lines to samples.jsonl, in one go."""
        with self._samples.open("a", encoding="utf-8") as file:
            file.write("".join(f"{sample.model_dump_json()}\n" for sample in samples))

    def samples(self) -> Iterator[Sample]:
        """Read the samples that are there, one at a time; a torn last line is left out."""
        if not self._samples.exists():
            return
        with self._samples.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    yield Sample.model_validate_json(line)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace summary.json."""
        self._write("summary", summary)

    def _write(self, name: str, record: Mapping[str, Any]) -> None:
        write_text(self.path / f"{name}.json", json.dumps(record, indent=2) + "\n")
