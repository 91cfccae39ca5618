"""A checkpoint's weights are those that the run itself would have exported, bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from common.config import dump_config, load_config
from common.config.stages import CorpusConfig, CorpusSource, StageConfig, StageLearnerConfig, StageModelConfig
from common.models.families import ModelError
from common.models.folder import model_folder
from common.models.loading import load_model, save_model
from learner.checkpoints import CheckpointError, Checkpoints, Ranks
from learner.export import export_checkpoint, export_model
from learner.progress import Progress
from learner.resume_compatibility import recorded_settings
from learner.retention import Retention
from orchestrator.commands.main import main
from tests.learner.causal_folders import causal_folder
from tests.learner.engine_ranks import Case, config_of, run_cases
from tests.learner.learner_tools import tiny_policy

QUICKSTART = Path(__file__).parents[2] / "recipes/quickstart.yaml"
BF16 = {"weights_dtype": "bfloat16"}
CASES = [
    *(Case(f"zero{stage}", samples=4, steps=2, zero_stage=stage) for stage in range(4)),
    *(Case(f"bf16-zero{s}", samples=4, steps=2, zero_stage=s, computes_bf16=True, settings=BF16) for s in (1, 3)),
    Case("lora", samples=4, steps=2, settings={"lora": {"rank": 2, "alpha": 4}}),
    Case(
        "bf16-lora",
        samples=4,
        steps=2,
        zero_stage=1,
        computes_bf16=True,
        settings=BF16 | {"lora": {"rank": 2, "alpha": 4}},
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
    runs: tuple[Path, dict[str, Any]], tmp_path: Path, name: str
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


def run_folder(folder: Path, source: Path, checkpoint: Path) -> Path:
    """A run's folder as it is after its second step: configuration and checkpoint."""
    config = load_config(
        QUICKSTART, [f"run.folder={folder}", f"model.path={source}", "learner.ranks=2", "learner.zero_stage=2"]
    )
    folder.mkdir()
    ranks = Ranks(0, 1, lambda: None)
    Checkpoints(folder / "checkpoints", Retention(2), ranks, recorded_settings(config)).save(
        Progress(version=2), lambda target: shutil.copytree(checkpoint, target, dirs_exist_ok=True)
    )
    (folder / "config.yaml").write_text(dump_config(config))
    return folder


def couplet(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_command_takes_a_checkpoint_a_folder_of_them_or_a_run(
    runs: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, found = runs
    run = run_folder(tmp_path / "run", folder / "model", folder / "zero2")
    checkpoint = run / "checkpoints" / "step-000002"
    for number, named in enumerate((run, run / "checkpoints", checkpoint)):
        result = couplet("export", named, tmp_path / str(number))
        assert result.exit_code == 0, result.output
        assert "weights of step-000002" in result.output
        ours = load_model(str(tmp_path / str(number)))
        for name, tensor in found["zero2"]["weights"].items():
            assert torch.equal(ours.get_parameter(name), tensor), name


def test_of_a_stage_the_model_made_for_it_says_what_the_weights_are(
    runs: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, found = runs
    run = run_folder(tmp_path / "run", folder / "model", folder / "zero2")
    model = StageModelConfig(path="causal/model")  # not here any more, and not needed
    data = CorpusConfig(sources=(CorpusSource(path="builtin:stdlib"),))
    config = StageConfig(stage="adapt", model=model, data=data, learner=StageLearnerConfig(ranks=2, zero_stage=2))
    (run / "config.yaml").write_text(dump_config(config))
    shutil.copytree(folder / "model", run / "start")
    assert couplet("export", run, tmp_path / "exported").exit_code == 0
    ours = load_model(str(tmp_path / "exported"))
    assert all(torch.equal(ours.get_parameter(name), t) for name, t in found["zero2"]["weights"].items())


def test_without_the_model_made_for_a_stage_its_checkpoint_is_not_exported(
    runs: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, _ = runs
    run = run_folder(tmp_path / "run", folder / "model", folder / "zero2")
    causal_folder(tmp_path / "causal")
    model = StageModelConfig(path=str(tmp_path / "causal"))
    data = CorpusConfig(sources=(CorpusSource(path="builtin:stdlib"),))
    (run / "config.yaml").write_text(dump_config(StageConfig(stage="adapt", model=model, data=data)))
    result = couplet("export", run, tmp_path / "exported")
    assert result.exit_code == 2
    assert "run/start: no such folder: the run of step-000002 started from the model in it" in result.stderr


def test_what_the_command_cannot_use_is_one_error(runs: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = runs
    run = run_folder(tmp_path / "run", folder / "model", folder / "zero2")
    checkpoint, target = run / "checkpoints" / "step-000002", tmp_path / "target"

    def refused(named: Path, into: Path = target) -> str:
        result = couplet("export", named, into)
        assert result.exit_code == 2
        assert not target.exists()
        (line,) = result.output.strip().splitlines()
        return line

    assert f"{run}: exists already" in refused(run, run)
    assert "no such folder; give the path" in refused(tmp_path / "absent")
    assert "holds no checkpoint; give the path" in refused(folder / "model")
    (run / "config.yaml").write_text(
        (run / "config.yaml").read_text().replace(str(folder / "model"), str(tmp_path / "gone"))
    )
    assert "model.path" in refused(run)
    (run / "config.yaml").unlink()
    assert f"{run / 'config.yaml'}: no such file" in refused(checkpoint)


def test_a_checkpoint_that_does_not_fit_is_named(runs: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = runs
    plain, gathered = config_of(BY_NAME["zero0"]), config_of(BY_NAME["zero3"])
    for config, checkpoint, message in (
        (plain, tmp_path, "not a usable checkpoint"),
        (gathered, tmp_path, "not a usable checkpoint"),
        (gathered, folder / "zero0", "not a usable checkpoint"),
        (plain, folder / "lora", "of weight model.embed_tokens.weight.*it holds none of that name"),
    ):
        with pytest.raises(CheckpointError, match=message):
            export_checkpoint(checkpoint, config, folder / "model", tmp_path / "exported")
    with pytest.raises(CheckpointError, match=r"of weight model\.embed_tokens.* it holds \(20, 16\)"):
        export_checkpoint(folder / "zero0", plain, model_folder("builtin:quickstart"), tmp_path / "exported")
    with pytest.raises(ModelError, match="no such file"):
        export_checkpoint(folder / "zero0", plain, tmp_path, tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []
