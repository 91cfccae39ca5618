"""A checkpoint's weights are those that the run itself would have exported, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from common.models.families import ModelError
from common.models.loading import load_model, model_folder, save_model
from learner.checkpoints import CheckpointError
from learner.export import export_checkpoint, export_model
from tests.learner.engine_ranks import Case, config_of, run_cases
from tests.learner.learner_tools import tiny_policy

BF16 = {"weights_dtype": "bfloat16"}
CASES = [
    *(Case(f"zero{stage}", steps=2, zero_stage=stage) for stage in range(4)),
    *(Case(f"bf16-zero{s}", steps=2, zero_stage=s, computes_bf16=True, settings=BF16) for s in (1, 2, 3)),
    Case("offload", steps=2, zero_stage=3, settings={"zero_offload": "all"}),
    Case("lora", steps=2, settings={"lora": {"rank": 2, "alpha": 4}}),
    Case(
        "bf16-lora", steps=2, zero_stage=1, computes_bf16=True, settings=BF16 | {"lora": {"rank": 2, "alpha": 4}}
    ),
]
BY_NAME = {case.name: case for case in CASES}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Two ranks' checkpoints, and the weights that they had then."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("model", "bf16-model"):  # as published: of bf16 weights where the run holds such
        model = tiny_policy().model
        if name == "bf16-model":
            model.bfloat16().float()
        save_model(model.config, model.named_parameters(), folder / name, model_folder("builtin:quickstart"))
    return folder, run_cases(2, CASES, folder)


def source_of(folder: Path, name: str) -> Path:
    return folder / ("bf16-model" if name.startswith("bf16") else "model")


@pytest.mark.parametrize("name", BY_NAME)
def test_the_export_of_a_checkpoint_is_that_of_its_run(
    runs: tuple[Path, dict[str, Any]], tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, found = runs
    config, source = config_of(BY_NAME[name]), source_of(folder, name)
    export_checkpoint(folder / name, config, source, tmp_path / "exported")
    weights = found[name]["weights"]
    export_model(config, load_model(str(source)).config, weights.items(), source, tmp_path / "expected")
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "exported" / file).read_bytes() == (tmp_path / "expected" / file).read_bytes()
    start, end = load_model(str(source)), load_model(str(tmp_path / "exported"))
    assert not all(map(torch.equal, start.parameters(), end.parameters())), "nothing was learned"
    assert capfd.readouterr().out == ""


def test_a_checkpoint_that_does_not_fit_is_named(runs: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = runs
    plain, gathered = config_of(BY_NAME["zero0"]), config_of(BY_NAME["zero3"])
    for config, checkpoint, message in (
        (plain, tmp_path, "not a usable checkpoint"),
        (gathered, tmp_path, "not a usable checkpoint"),
        (gathered, folder / "zero0", "not a usable checkpoint"),
        (plain, folder / "lora", "of weight model.layers.0.self_attn.q_proj.weight.*it holds none of that name"),
    ):
        with pytest.raises(CheckpointError, match=message):
            export_checkpoint(checkpoint, config, folder / "model", tmp_path / "exported")
    with pytest.raises(CheckpointError, match=r"of weight model\.embed_tokens.* it holds \(20, 16\)"):
        export_checkpoint(folder / "zero0", plain, model_folder("builtin:quickstart"), tmp_path / "exported")
    with pytest.raises(ModelError, match="no such file"):
        export_checkpoint(folder / "zero0", plain, tmp_path, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()
