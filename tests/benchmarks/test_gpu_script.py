"""The script that measures on a GPU runs, at a tiny size, without one."""

from __future__ import annotations

import json
import math
from pathlib import Path

from click.testing import CliRunner

from benchmarks.gpu.__main__ import main


def test_it_prints_and_writes_finite_numbers(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    result = CliRunner().invoke(main, ["--small", "--json", str(file)])
    assert result.exit_code == 0, result.output
    found = json.loads(file.read_text())["results"]
    assert all(math.isfinite(value) and value >= 0 for value in found.values())
    for label in (
        "plain: tokens/s",
        "compiled: share of peak",
        "attention of all rows, by length, ms",
        "publish: from the device into shared memory, s",
        "publish: from there into another model, s",
        "update: s",
        "update: backward, s",
        "update: memory at end of step by arithmetic, GiB",
    ):
        assert found[label] > 0
        assert label in result.output
