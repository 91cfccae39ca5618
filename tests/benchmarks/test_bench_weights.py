"""The weights that are timed do arrive. No assertion is about time."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from orchestrator.commands.main import main


def test_a_run_compares_the_transports() -> None:
    command = [sys.executable, "-m", "orchestrator.commands.main", "bench", "weights", "--json"]
    command += ["--mib", "3", "--workers", "1", "--dtype", "bfloat16", "--repeats", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)  # Ray starts once in a process
    assert done.returncode == 0, done.stderr
    assert "copies" in done.stdout
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["settings"] == {"mib": 3, "workers": 1, "dtype": "bfloat16", "repeats": 2}
    assert [case["transport"] for case in found["cases"]] == ["auto", "object_store", "collective"]
    for case in found["cases"]:
        assert len(case["seconds"]) == 2
        assert min(case["seconds"]) <= case["median_seconds"] <= max(case["seconds"])
        assert min(case["copy_seconds"]) > 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--mib", "0"], "--mib"), (["--workers", "0"], "--workers"), (["--transport", "pigeon"], "--transport")],
)
def test_a_bad_value_is_named(arguments: list[str], told: str) -> None:
    result = CliRunner().invoke(main, ["bench", "weights", *arguments])
    assert result.exit_code == 2
    assert told in result.output
