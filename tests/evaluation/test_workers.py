"""`couplet evaluate --workers`: what several workers find, one of them killed, is what this process finds."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import psutil
from click.testing import CliRunner

from orchestrator.commands.main import main

#: Three batches, two full ones and one of a few rows.
_WORDS = shlex.split(
    "evaluate builtin:quickstart builtin:quickstart --limit 20 --samples 8 --temperature 0.7 --max-tokens 200 "
    "--denoising-steps 4 --threads 1 --slots 1 --output"
)


def worker_under_way(process: subprocess.Popen[str]) -> psutil.Process:
    """A worker of that evaluation which completes a batch, as Ray names its processes."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                name = " ".join(child.cmdline())
            except psutil.Error:
                continue
            if "CompletionWorker.begin" in name or "CompletionWorker.advance" in name:
                return child
        time.sleep(0.02)
    raise AssertionError(f"no worker completes anything; exit code {process.poll()}")


def test_workers_find_what_one_process_finds_though_one_is_killed(tmp_path: Path) -> None:
    alone, fleet = tmp_path / "alone", tmp_path / "fleet"
    assert CliRunner().invoke(main, [*_WORDS, str(alone)], catch_exceptions=False).exit_code == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.commands.main", *_WORDS, str(fleet), "--workers", "2"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        worker_under_way(process).kill()
        started = psutil.Process(process.pid).children(recursive=True)
        output, _ = process.communicate(timeout=180)
    finally:
        process.kill()
    assert process.returncode == 0, output
    assert "takes its place" in output
    for name in ("samples.jsonl", "summary.json", "settings.json"):
        assert (fleet / name).read_bytes() == (alone / name).read_bytes()
    assert not psutil.wait_procs(started, timeout=30)[1], "a process is left"
