"""Causal models, run by vLLM and by transformers, beside transformers' own ``generate``."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, PreTrainedModel

from common.config import ModelSection
from common.models.families import ModelError
from common.records import NoiseKey, Sampler
from evaluation.completers.interface import Completed, Completer, Loading
from evaluation.settings import CausalSampler, Cell, Engine, EvaluationSettings
from evaluation.subject import Subject
from evaluation.templates import template
from orchestrator.commands.main import main
from rollout_workers.requests import Request
from tests.learner.causal_folders import causal_folder, change_json
from tests.needs_vllm import need_vllm

#: Heads of 32 are the smallest that vLLM has attention for on a CPU.
_SHAPE = {"hidden_size": 128, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2}
_LENGTH = 24
_TASK = {"prompt": "def f(x):\n", "prefix": "def f(x):\n", "tests": [{"call": "f(1)", "expected": "2"}]}
_PROMPTS = ((40, 41, 42), (60,), tuple(range(70, 90)), (100, 101))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("causal")
    causal_folder(folder, **_SHAPE)
    return folder


@pytest.fixture(scope="module")
def reference(folder: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model


class Model(NamedTuple):
    """A completer, and the sampler of its completions."""

    completer: Completer
    sampler: CausalSampler

    def close(self) -> None:
        self.completer.close()


def load(folder: Path, engine: Engine) -> Model:
    sampler = CausalSampler(completion_length=_LENGTH)
    model = ModelSection(path=str(folder), threads=1, device="cpu")
    cell = Cell.of("plain", sampler, seed=0)
    settings = EvaluationSettings(engine=engine, model=model, templates=(template("plain"),), cells=(cell,))
    return Model(Subject.read(str(folder), engine).load(settings, 64, Loading()), sampler)


@pytest.fixture(scope="module", params=["transformers", "vllm"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "vllm":
        need_vllm()
    name: Engine = request.param
    return name


@pytest.fixture(scope="module")
def greedy(folder: Path, engine: Engine) -> Iterator[Model]:
    with closing(load(folder, engine)) as model:
        yield model


@pytest.mark.parametrize("length", [1, 256, 512])
def test_settings_keep_their_kind_of_sampler(folder: Path, length: int) -> None:
    for kind, more in ((CausalSampler, {}), (Sampler, {"denoising_steps": 1})):
        sampler = {"completion_length": length, **more}
        cell = {"name": "any", "template": "plain", "sampler": sampler, "seed": 0}
        templates = [template("plain").model_dump()]
        fields = {"engine": "vllm", "model": {"path": str(folder)}, "templates": templates, "cells": [cell]}
        settings = EvaluationSettings.model_validate(fields)
        assert type(settings.cells[0].sampler) is kind
        assert EvaluationSettings.model_validate_json(settings.model_dump_json()) == settings


def requests(samples: int = 1, seed: int = 0) -> list[Request]:
    return [
        Request(prompt, NoiseKey(seed, "noise-evaluation", (0, index, sample)))
        for index, prompt in enumerate(_PROMPTS)
        for sample in range(samples)
    ]


def run(model: Model, asked: list[Request]) -> dict[NoiseKey, Completed]:
    completer, sampler = model
    batches = completer.batches(asked, sampler)
    assert [request for batch in batches for request in batch] == asked
    found = {done.request.key: done for step in completer.complete(batches, sampler) for done in step}
    assert found.keys() == {request.key for request in asked}
    return found


@torch.no_grad()
def test_greedy_tokens_are_those_of_generate(greedy: Model, reference: PreTrainedModel) -> None:
    found = run(greedy, requests())
    for request in requests():
        prompt = torch.tensor([request.prompt_ids])
        ids = reference.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=_LENGTH,
            eos_token_id=[0, 2],
        )
        assert list(found[request.key].token_ids) == ids[0, len(request.prompt_ids) :].tolist()


def test_tokens_are_written_one_a_pass_from_left_to_right(greedy: Model) -> None:
    for done in run(greedy, requests()).values():
        assert done.forwards == len(done.token_ids)
        assert done.executed_step_map == tuple(range(done.forwards))
        assert done.ended == (done.token_ids[-1] in (0, 2))
        assert done.ended or done.forwards == _LENGTH


def test_what_is_not_finished_can_be_dropped(greedy: Model) -> None:
    completer, sampler = greedy
    steps = completer.complete(completer.batches(requests(), sampler), sampler)
    next(steps)
    steps.close()
    assert len(run(greedy, requests()[:1])) == 1


def test_a_draw_depends_on_its_key_alone(greedy: Model) -> None:
    sampler = CausalSampler(completion_length=_LENGTH, temperature=1.0, top_p=0.9)
    model = Model(greedy.completer, sampler)
    together = run(model, requests(samples=2))
    alone = run(model, requests(samples=2)[3:4])
    other_seed = run(model, requests(samples=2, seed=1))
    ((key, done),) = alone.items()
    assert done.token_ids == together[key].token_ids
    texts = {done.token_ids for done in (*together.values(), *other_seed.values())}
    assert len(texts) > 12


def test_every_stated_end_ends_a_text(folder: Path, tmp_path: Path) -> None:
    """The tokenizer's (0), the template's (2), config.json's and generation_config.json's."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    change_json(tmp_path / "config.json", eos_token_id=5)
    (tmp_path / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [7, 9], "repetition_penalty": 1.3})
    )
    config = Subject.read(str(tmp_path), "transformers").config
    assert getattr(config, "end_token_ids", None) == (0, 2, 5, 7, 9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mamba"}, "config.json: model_type 'mamba' is not one of"),
        ({"max_position_embeddings": None}, "max_position_embeddings: must be a number"),
    ],
)
def test_a_model_that_is_not_known_is_one_clear_error(
    folder: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    change_json(tmp_path / "config.json", **changes)
    with pytest.raises(ModelError, match=message):
        Subject.read(str(tmp_path), "transformers")


def test_a_causal_model_is_evaluated_as_any_other_and_has_ar_ness_1(folder: Path, tmp_path: Path) -> None:
    tasks, out = tmp_path / "tasks.jsonl", tmp_path / "out"
    tasks.write_text("".join(json.dumps({"id": name, **_TASK}) + "\n" for name in ("one", "other")))
    words = f"evaluate {folder} {tasks} --engine transformers --output {out} --threads 1 --slots 1"
    sampling = "--max-tokens 12 --samples 2 --temperature 0.8"
    result = CliRunner().invoke(main, [*words.split(), *sampling.split()], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "a causal model, run by transformers" in " ".join(result.output.split())
    (figures,) = json.loads((out / "summary.json").read_text())["scores"]
    assert set(figures["ar_ness"].values()) == {1.0}
    assert figures["tokens_per_forward"] == 1.0
    assert (figures["tasks"], figures["samples"], set(figures["pass_at"])) == (2, 4, {"1", "2"})


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder of temporary files; its path has to be short, as there are sockets in it."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_ctrl_c_ends_an_evaluation_by_vllm_in_order(folder: Path, tmp_path: Path, temporary: Path) -> None:
    """As a terminal sends it: to every process at once."""
    need_vllm()
    tasks, out = tmp_path / "tasks.jsonl", tmp_path / "out"
    tasks.write_text("".join(json.dumps({"id": f"task {number}", **_TASK}) + "\n" for number in range(20)))
    words = f"evaluate {folder} {tasks} --engine vllm --output {out} --threads 1 --slots 1"
    sampling = "--max-tokens 40 --samples 64 --temperature 0.8"
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.commands.main", *words.split(), *sampling.split()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 200
        while not (out / "samples.jsonl").exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        started = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        shown, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, told
    assert len(started) > 1, "vLLM's process, and those of the sandbox"
    assert not psutil.wait_procs(started, timeout=10)[1], "a process is left"
    assert [file.name for file in temporary.iterdir() if "vllm" in file.name] == []

    summary = json.loads((out / "summary.json").read_text())
    (figures,) = summary["scores"]
    assert not summary["complete"]
    assert 0 < figures["samples"] < 20 * 64
    assert set(figures["ar_ness"].values()) == {1.0}
    assert shown.startswith(str(folder)), "standard output is the command's own"
    assert "stopping" in told
    assert f"what was done is in {out}" in " ".join(told.split())
    assert not re.search(r"warning|error|traceback|vllm.*pid=", told, re.IGNORECASE)
