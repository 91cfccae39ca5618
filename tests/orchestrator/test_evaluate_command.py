from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from common.models.folder import model_folder
from evaluation.samples import Sample
from orchestrator.commands.main import main
from tests.learner.causal_folders import causal_folder

MODEL = "builtin:quickstart"
SHORT = ("--max-tokens", "28", "--denoising-steps", "14")
TASKS = [
    {
        "id": f"sum{number}",
        "prompt": f"# Of the numbers in xs, each times {number}, return the sum.\ndef f(xs):\n",
        "prefix": "def f(xs):\n",
        "tests": [{"call": "f([])", "expected": "0"}, {"call": "f([1, 2])", "expected": str(3 * number)}],
    }
    for number in range(2, 6)
]


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments), "--slots", "2"], catch_exceptions=False)


def samples_of(folder: Path) -> list[Sample]:
    return [Sample.model_validate_json(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def summary_of(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tasks") / "sums.jsonl"
    path.write_text("".join(json.dumps(task) + "\n" for task in TASKS))
    return path


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("causal")
    causal_folder(
        folder, hidden_size=128, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=256,
    )  # fmt: skip
    return folder


def test_a_model_of_damaged_weights_is_one_error(tmp_path: Path) -> None:
    model = shutil.copytree(model_folder(MODEL), tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    save_file(
        {name: torch.full_like(one, torch.nan) for name, one in weights.items()}, model / "model.safetensors"
    )
    result = evaluate(model, MODEL, *SHORT, "--limit", 1, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert f"error: {model}: the model's logits are not finite" in result.stderr


def test_the_quick_start_passes_as_often_as_before_its_first_step(tmp_path: Path) -> None:
    """`couplet quickstart` evaluates the same model, tasks and seed at step 0, and shows 43.5 %."""
    result = evaluate(MODEL, "builtin:quickstart", *SHORT, "--threads", 1, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    (figures,) = summary_of(tmp_path / "out")["scores"]
    assert (figures["tasks"], figures["samples"], figures["excluded"]) == (200, 200, 0)
    assert figures["pass_at"]["1"] == pytest.approx(0.435, abs=0.006)  # but for one near-tie
    assert 1.0 < figures["tokens_per_forward"] <= 2.0
    assert 0.0 < figures["ar_ness"]["local@1"] < 1.0


def test_figures_are_those_of_the_samples_that_were_kept(tasks: Path, tmp_path: Path) -> None:
    result = evaluate(
        MODEL, tasks, *SHORT, "--samples", 4, "--temperature", 1.6, "--top-p", 1, "--k", 1, "--k", 3,
        "--seed", 3, "--output", tmp_path / "out", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    samples = samples_of(tmp_path / "out")
    assert sorted((one.index, one.sample) for one in samples) == [(i, j) for i in range(4) for j in range(4)]
    assert len({one.text for one in samples}) > 4
    (figures,) = summary_of(tmp_path / "out")["scores"]
    for k in (1, 3):
        of_tasks = [
            fmean(any(some) for some in combinations([one.passed for one in samples if one.index == index], k))
            for index in range(4)
        ]
        assert figures["pass_at"][str(k)] == pytest.approx(fmean(of_tasks))
    assert figures["tokens"] == sum(len(one.token_ids) for one in samples)
    assert figures["forwards"] == sum(one.forwards for one in samples)
    for name, steps in (("global@1", "step_map"), ("executed_global@1", "executed_step_map")):
        assert figures["ar_ness"][name] == pytest.approx(fmean(_left_most(getattr(one, steps)) for one in samples))
    printed = json.loads(result.stdout.splitlines()[-1])
    assert printed["scores"][0].pop("seconds") > 0
    assert printed == summary_of(tmp_path / "out")
    (cell,) = json.loads((tmp_path / "out" / "settings.json").read_text())["settings"]["cells"]
    assert (cell["seed"], cell["sampler"]["temperature"]) == (3, 1.6)
    assert {one.cell for one in samples} == {cell["name"]} == {"plain,T1.6,steps14,seed3"}


def _left_most(step_map: tuple[int, ...]) -> float:
    """Global AR-ness@1, from its definition: steps that take the left-most place that is still masked."""
    order = sorted((step, place) for place, step in enumerate(step_map) if step >= 0)
    never = {place for place, step in enumerate(step_map) if step < 0}
    masked = never | {place for _, place in order}
    hits = []
    for _, place in order:
        hits.append(place == min(masked))
        masked.remove(place)
    return fmean(hits) if hits else 1.0


def test_a_stop_ends_the_text_before_it_in_a_chat_too(causal: Path, tasks: Path, tmp_path: Path) -> None:
    """The answer's beginning is the prompt's, and no part of what is searched."""
    arguments = (causal, tasks, "--engine", "transformers", "--max-tokens", 8, "--limit", 1)
    chat = (*arguments, "--template", "chat", "--system-prompt", "", "--answer-prefix", "Here:\n```python\n")
    assert evaluate(*chat, "--output", tmp_path / "whole").exit_code == 0
    (whole,) = samples_of(tmp_path / "whole")
    written = whole.text.removeprefix("Here:\n```python\n")
    assert len(written) > 1
    assert written != whole.text
    assert evaluate(*chat, "--stop", written[1], "--stop", "H", "--output", tmp_path / "cut").exit_code == 0
    (cut,) = samples_of(tmp_path / "cut")
    assert cut.text == "Here:\n```python\n" + written.split(written[1])[0].split("H")[0]
    assert cut.token_ids == whole.token_ids


def test_an_evaluation_that_is_interrupted_leaves_what_is_done(causal: Path, tasks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sampling = ("--max-tokens", "8", "--samples", "60", "--temperature", "1", "--threads", "1")
    model = ("--engine", "transformers", "--output", str(out))
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "orchestrator.commands.main",
            "evaluate",
            str(causal),
            str(tasks),
            *model,
            *sampling,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (out / "samples.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, output
    samples = samples_of(out)
    assert 0 < len(samples) < 240
    assert len(samples) % 60 == 0
    summary = summary_of(out)
    assert not summary["complete"]
    assert summary["scores"][0]["samples"] == len(samples)
    assert f"what was done is in {out}" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "transformers"], "builtin:quickstart is a masked-diffusion model"),
        (["--k", "2"], "--k 2: takes at least as many completions of each task; give --samples 2 or more"),
        (["--denoising-steps", "40"], "--denoising-steps: more steps than tokens; set it to at most --max-tokens"),
        (["--block-length", "5"], "--block-length: must divide --max-tokens"),
        (["--system-prompt", "x"], "--system-prompt: is a part of a chat, and the template plain is none"),
        (["--answer-prefix", "x"], "--answer-prefix: begins no answer of sums, whose tasks are continued"),
        (["--template", "magic"], "--template 'magic': there is none of that name; give one of plain, "),
        (["--tensor-parallel-size", "2"], "--tensor-parallel-size: only vllm splits a model"),
        (["--max-tokens", "5000"], "--max-tokens 5000: does not fit: the model knows 512 positions"),
        (["--decoder", "magic"], "--decoder: "),
        (["--decoder", "1"], "--decoder: "),
        (["elsewhere/sums.jsonl.gz"], "elsewhere/sums.jsonl.gz: another file is named sums too"),
        (["builtin:other"], "builtin:other: known built-in tasks: builtin:quickstart"),
        (["mbpp=builtin:quickstart"], "mbpp=builtin:quickstart: builtin:quickstart is made, not read from a file"),
        (["builtin:quickstart", "--format", "mbpp"], "--format mbpp: builtin:quickstart is made, not read"),
        (["."], ".: is a folder; give a file of tasks in it"),
        (["no/such/file.jsonl"], "no/such/file.jsonl: there is no such file"),
        (["--template", "chat"], "--template: the tokenizer of 'builtin:quickstart' has no chat template; give"),
    ],
)
def test_bad_input_is_one_clear_error(arguments: list[str], message: str, tasks: Path, tmp_path: Path) -> None:
    result = evaluate(MODEL, tasks, *SHORT, "--output", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_not_there_is_named_as_the_argument(tasks: Path, tmp_path: Path) -> None:
    result = evaluate("no/such/folder/at-all", tasks, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: MODEL 'no/such/folder/at-all': no such folder; give a folder, ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "torch"], "is a causal model, which is not denoised; give --engine vllm or transformers"),
        (["--decoder", "entropy"], "--decoder: "),
        (["--block-length", "4"], "--block-length: "),
    ],
)
def test_a_causal_model_is_not_denoised(
    causal: Path, tasks: Path, arguments: list[str], message: str, tmp_path: Path
) -> None:
    result = evaluate(causal, tasks, "--engine", "transformers", "--output", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_folder_that_holds_an_evaluation_is_left_alone(tasks: Path, tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_text("mine\n")
    result = evaluate(MODEL, tasks, *SHORT, "--output", tmp_path)
    assert result.exit_code == 2
    assert "holds a samples.jsonl without its settings.json" in result.stderr
    assert (tmp_path / "samples.jsonl").read_text() == "mine\n"


def test_a_task_that_cannot_be_scored_is_told_and_not_counted(causal: Path, tasks: Path, tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    bad = {**TASKS[0], "id": "bad", "tests": [{"call": "f(1)"}], "reference": "    raise KeyError\n"}
    file.write_text(tasks.read_text() + json.dumps(bad) + "\n")
    result = evaluate(causal, file, "--engine", "transformers", "--max-tokens", 4, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "1 tasks cannot be scored" in result.stderr
    assert "task 'bad'" in result.stderr
    (figures,) = summary_of(tmp_path / "out")["scores"]
    assert (figures["tasks"], figures["samples"], figures["excluded"]) == (5, 5, 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_clear_error(tasks: Path, tmp_path: Path) -> None:
    result = evaluate(MODEL, tasks, *SHORT, "--device", "cuda", "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr == "error: --device cuda: torch sees no GPU here; give --device auto or cpu\n"
