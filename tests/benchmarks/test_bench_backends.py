"""Both backends in one run, and the script for GPUs in its mode for CPUs. No assertion is about time."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.gpu.rollouts import ROWS, main, table, wrong
from orchestrator.commands.main import main as couplet
from tests.needs_vllm import need_vllm

_SECONDS = 280.0
_RIGHT = {"dtype": "float32", "same": 7, "near_ties": 1, "completions": 8, "changed": 4}


def run(*arguments: str) -> str:
    """Run a module in a process of its own: importing vLLM changes the one that does."""
    need_vllm()
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, timeout=_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_script_for_gpus_runs_on_cpus(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    shown = run("benchmarks.gpu.rollouts", "--small", "--dtype", "float32", "--mode", "eager", "--json", str(file))
    assert "| float32, eager, TP 1 |" in shown
    (result,) = json.loads(file.read_text())["results"]
    assert set(ROWS) <= set(result)
    assert result["same"] + result["near_ties"] == result["completions"] == 12
    assert result["changed"] == 4
    assert result["first_step_same"] == 1.0
    assert result["logprob_max"] < 1e-4
    assert result["effective_share"] == pytest.approx(1.0, abs=1e-6)
    assert result["broadcast"] == "gloo"
    assert all(result[key] > 0 for key in ROWS if key.endswith(("seconds", "per_second")))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, False),
        ({"same": 6}, True),
        ({"changed": 0}, True),
        ({"same": 0, "near_ties": None, "dtype": "bfloat16"}, False),
    ],
)
def test_other_tokens_in_fp32_and_updates_that_change_nothing_are_wrong(
    changes: dict[str, object], told: bool
) -> None:
    assert wrong(_RIGHT | changes) == told


def test_results_are_laid_out_in_markdown() -> None:
    values = dict.fromkeys(ROWS, 0.123456) | {"near_ties": None, "broadcast": "nccl"}
    lines = table([{"dtype": "bfloat16", "mode": "compiled", "tensor_parallel": 2, **values}]).splitlines()
    assert lines[:2] == ["|  | bfloat16, compiled, TP 2 |", "| --- | ---: |"]
    assert len(lines) == 2 + len(ROWS)
    assert f"| {ROWS['vllm_gib']} | 0.1235 |" in lines
    assert f"| {ROWS['broadcast']} | nccl |" in lines


def test_the_script_says_what_it_can_be_told() -> None:
    shown = CliRunner().invoke(main, ["--help"]).output
    for option in ("--model", "--dtype", "--mode", "--tensor-parallel", "--rows", "--small", "--json"):
        assert option in shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--mode", "fast"], "--mode"), (["--dtype", "float16"], "--dtype"), (["--rows", "0"], "--rows")],
)
def test_a_bad_value_is_named(arguments: list[str], told: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert told in result.output


def test_what_is_of_the_other_backend_is_refused() -> None:
    result = CliRunner().invoke(couplet, ["bench", "rollout", "--compile"])
    assert result.exit_code == 2
    assert "--backend vllm" in result.output


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed")
def test_an_absent_vllm_is_named_with_the_remedy() -> None:
    result = CliRunner().invoke(couplet, ["bench", "rollout", "--backend", "vllm"])
    assert result.exit_code != 0
    assert result.exception is None or "vllm is not installed" in str(result.exception) + result.output
