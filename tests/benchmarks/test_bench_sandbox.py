"""``couplet bench sandbox --against``: two checkouts in turns."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from benchmarks.command_sandbox import sandbox
from benchmarks.sandbox import PROGRAMS

_HERE = Path(__file__).resolve().parents[2]


def test_a_checkout_is_compared_with_itself() -> None:
    quick = ["--slots", "1", "--seconds", "0.1", "--rounds", "1", "--json"]
    done = CliRunner().invoke(sandbox, ["--against", str(_HERE), *quick])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout.splitlines()[-1])
    assert [row["kind"] for row in rows if row["backend"] == "jail"] == list(PROGRAMS)
    assert all(len(row["here"]) == len(row["there"]) == 1 for row in rows)
    assert all(row["here"][0][0] > 0 and row["there"][0][0] > 0 for row in rows)


def test_what_is_no_checkout_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(sandbox, ["--against", str(tmp_path)])
    assert done.exit_code == 1
    assert f"{tmp_path} is no checkout of Couplet" in done.output
