"""`couplet evaluate` that is killed, and given again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.commands.main import main

GRID = ("--temperature", "1.6", "--seeds", "0,1", "--samples", "8")
SAMPLES = 2 * 4 * 8
OPTIONS = (*GRID, "--max-tokens", "28", "--denoising-steps", "14", "--threads", "1", "--slots", "1")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tasks") / "sums.jsonl"
    rows = [
        {
            "id": f"sum{number}",
            "prompt": f"# Of the numbers in xs, each times {number}, return the sum.\ndef f(xs):\n",
            "prefix": "def f(xs):\n",
            "tests": [{"call": "f([1, 2])", "expected": str(3 * number)}],
        }
        for number in range(2, 6)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def arguments(tasks: Path, output: Path, *more: str) -> list[str]:
    return ["evaluate", "builtin:quickstart", str(tasks), *OPTIONS, "--output", str(output), *more]


def evaluate(tasks: Path, output: Path, *more: str) -> Result:
    return CliRunner().invoke(main, arguments(tasks, output, *more), catch_exceptions=False)


def start(tasks: Path, output: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator.commands.main", *arguments(tasks, output)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def kept(output: Path) -> int:
    file = output / "samples.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def results(output: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in output.iterdir() if file.name != "times.json"}


def test_an_evaluation_that_is_killed_twice_ends_in_the_same_bytes(tasks: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert evaluate(tasks, whole).exit_code == 0
    chance = random.Random(0)
    for most in (SAMPLES // 4, SAMPLES // 2):
        wanted = chance.randint(0, most)  # a busy machine kills later, when more are kept
        process = start(tasks, out)
        deadline = time.monotonic() + 120
        while kept(out) <= wanted and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        process.communicate(timeout=60)
    done = kept(out)
    result = evaluate(tasks, out)
    assert result.exit_code == 0, result.output
    assert results(out) == results(whole), f"{done} samples kept"
    assert {"settings.json", "samples.jsonl", "summary.json", "summary.md", "summary.csv"} == results(out).keys()
    refused = evaluate(tasks, out, "--top-p", "0.9")
    assert refused.exit_code == 2
    assert "settings.cells.0.sampler.top_p is 0.95 there and 0.9 here" in refused.stderr


def test_a_stop_during_the_start_says_so_at_once_and_leaves_nothing(tasks: Path, tmp_path: Path) -> None:
    process = start(tasks, tmp_path / "out")
    try:
        handler = Path(f"/proc/{process.pid}/status")
        deadline = time.monotonic() + 60
        while not takes_sigterm(handler) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143, errors
    assert errors.startswith(("stopping", "stopped by SIGTERM")), errors
    assert not (tmp_path / "out").exists()


def takes_sigterm(status: Path) -> bool:
    """Tell whether a process has a handler of its own for SIGTERM."""
    caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
