"""What a stage's run goes on from, and what it refuses, before any rank is started."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from common.config import ConfigError, StageConfig, load_config
from common.models.config import ModelConfig
from common.models.families import ModelError
from learner.checkpoints import CheckpointError, Checkpoints, Ranks
from learner.resume_compatibility import recorded_settings
from learner.retention import Retention
from learner.stages.corpus import CorpusError
from learner.stages.progress import StageProgress
from orchestrator.commands.main import main
from orchestrator.report.display import Display
from orchestrator.resume import checkpoint_to_resume
from orchestrator.run_folder import RunFolder
from orchestrator.stages.preparation import prepare_stage
from orchestrator.stages.run import run_stage
from tests.stage_runs import stage_config, write_recipes

QUICKSTART = Path(__file__).parents[3] / "recipes" / "quickstart.yaml"


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    write_recipes(tmp_path)
    return tmp_path


def begun(config: StageConfig, version: int = 4) -> Path:
    """A run that has a checkpoint; its path."""
    RunFolder.open(config, resume=False).close()
    corpus = prepare_stage(config, config.folder, lambda text: None, lambda: None, resumed=False).corpus
    folder = config.folder / "checkpoints"
    checkpoints = Checkpoints(folder, Retention(2), Ranks(0, 1, lambda: None), recorded_settings(config))
    checkpoints.save(StageProgress.at(version, corpus), lambda target: None)
    return folder / f"step-{version:06d}"


def run(config: StageConfig, resume: str) -> None:
    run_stage(config, resume, Display(Console(file=io.StringIO())))


@pytest.mark.parametrize(
    "change",
    [
        "run.seed=9",
        "model.weights=pretrained",
        "data.context_length=32",
        "data.held_out_share=0.2",
        "objective.t_min=0.1",
        "learner.sequences_per_step=8",
        "learner.zero_stage=1",
    ],
)
def test_settings_that_make_another_run_of_it_are_refused(recipes: Path, change: str) -> None:
    begun(stage_config(recipes, "adapt", recipes / "run"))
    with pytest.raises(ConfigError, match=rf"this run has .*{change.split('=')[0]} "):
        run(stage_config(recipes, "adapt", recipes / "run", change), "auto")


@pytest.mark.parametrize(
    "change", ["run.steps=99", "learner.ranks=2", "evaluation.every_steps=1", "data.cache=elsewhere"]
)
def test_settings_that_change_no_step_are_not(recipes: Path, change: str) -> None:
    last = begun(stage_config(recipes, "pretrain", recipes / "run"))
    assert checkpoint_to_resume(stage_config(recipes, "pretrain", recipes / "run", change), "auto", []) == last


def test_ranks_that_share_the_optimizers_state_must_stay_as_many(recipes: Path) -> None:
    begun(stage_config(recipes, "pretrain", recipes / "run", "learner.zero_stage=2"))
    more = stage_config(recipes, "pretrain", recipes / "run", "learner.zero_stage=2", "learner.ranks=2")
    with pytest.raises(ConfigError, match=r"this run has learner\.ranks 2"):
        run(more, "auto")


def test_other_data_under_the_same_name_are_refused(recipes: Path) -> None:
    config = stage_config(recipes, "pretrain", recipes / "run")
    begun(config)
    with (recipes / "documents.jsonl").open("a") as file:
        file.write('{"text": "one more"}\n')
    with pytest.raises(CheckpointError, match=r"step 4 was trained on other data .*: bring the files back"):
        run(config, "auto")


def test_the_same_data_copied_again_are_not_other_data(recipes: Path) -> None:
    config = stage_config(recipes, "pretrain", recipes / "run")
    begun(config)
    os.utime(recipes / "documents.jsonl", (1, 1))
    shutil.rmtree(recipes / "run" / "data")
    corpus = prepare_stage(config, config.folder, lambda text: None, lambda: None, resumed=False).corpus
    StageProgress.at(4, corpus).check(corpus)


def test_a_checkpoint_of_another_command_is_named(recipes: Path) -> None:
    checkpoint = begun(stage_config(recipes, "adapt", recipes / "run"))
    with pytest.raises(ConfigError, match=r"is one of `couplet adapt`, and this is `couplet sft`; start from the"):
        run(stage_config(recipes, "sft", recipes / "other"), str(checkpoint))
    reinforcement = load_config(QUICKSTART, [f"run.folder={recipes / 'third'}"])
    with pytest.raises(ConfigError, match=r"is one of `couplet adapt`, and this is `couplet train`"):
        checkpoint_to_resume(reinforcement, str(checkpoint), [])
    assert not (recipes / "other").exists()


def test_what_cannot_be_trained_is_refused_before_a_folder_is_made(recipes: Path) -> None:
    causal = stage_config(recipes, "pretrain", recipes / "run", f"model.path={recipes / 'causal'}")
    with pytest.raises(ModelError, match="is a causal model; adapt it first"):
        run(causal, "never")
    assert not (recipes / "run").exists()


def test_a_source_that_is_not_there_is_refused_before_a_folder_is_made(recipes: Path) -> None:
    absent = stage_config(recipes, "adapt", recipes / "run", "data.sources=[documents.json]")
    with pytest.raises(CorpusError, match=r"data\.sources documents\.json: no such file or folder"):
        run(absent, "never")
    assert not (recipes / "run").exists()


def test_before_the_first_checkpoint_another_model_may_be_named(recipes: Path) -> None:
    shutil.copytree(recipes / "causal", recipes / "deeper")
    described = json.loads((recipes / "deeper/config.json").read_text())
    (recipes / "deeper/config.json").write_text(json.dumps(described | {"num_hidden_layers": 3}))
    layers = []
    for name, resumed in (("causal", False), ("deeper", False), ("causal", True)):
        config = stage_config(recipes, "adapt", recipes / "run", f"model.path={recipes / name}")
        prepared = prepare_stage(config, config.folder, lambda text: None, lambda: None, resumed=resumed)
        layers.append(ModelConfig.from_folder(Path(prepared.model)).num_hidden_layers)
    assert layers == [2, 3, 3], "a resumed run keeps the model that it began with"


def test_sequences_beyond_the_models_positions_are_refused(recipes: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.context_length: 1024, and the model knows 512 positions"):
        run(stage_config(recipes, "pretrain", recipes / "run", "data.context_length=1024"), "never")


def test_a_run_without_a_length_is_refused(recipes: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.steps: missing, and run\.epochs too"):
        run(stage_config(recipes, "pretrain", recipes / "run", "run.steps=null"), "never")


def test_a_dry_run_shows_what_would_start_and_writes_nothing(recipes: Path) -> None:
    arguments = [str(recipes / "sft.yaml"), f"run.folder={recipes / 'run'}", "run.epochs=2", "--dry-run"]
    result = CliRunner().invoke(main, ["sft", *arguments])
    assert result.exit_code == 0, result.output
    assert "memory of a rank" in result.stdout
    length = "training: 2 epochs in steps of 4 sequences of up to 64 tokens, 256 tokens a step"
    assert length in " ".join(result.stdout.split())
    assert not (recipes / "run").exists()


def test_a_dry_run_counts_the_steps_of_data_that_are_prepared(recipes: Path) -> None:
    config = stage_config(recipes, "sft", recipes / "run", "run.epochs=2")
    corpus = prepare_stage(config, config.folder, lambda text: None, lambda: None, resumed=False).corpus
    arguments = [str(recipes / "sft.yaml"), f"run.folder={recipes / 'run'}", "run.epochs=2", "--dry-run"]
    result = CliRunner().invoke(main, ["sft", *arguments])
    assert f"training: {2 * corpus.summary.documents // 4} steps of 4 sequences: " in result.stdout


def test_a_recipe_of_another_stage_names_its_command(recipes: Path) -> None:
    result = CliRunner().invoke(main, ["adapt", str(recipes / "sft.yaml")])
    assert result.exit_code == 2
    assert "is not for adapt; run it with `couplet sft`" in result.stderr


def without_column(recipes: Path) -> str:
    """A source whose rows lack the column that is asked for."""
    return f"data.sources=[{{path: {recipes / 'documents.jsonl'}, text: absent}}]"


@pytest.mark.parametrize("resume", ["never", "auto"])
def test_a_mistake_in_the_data_leaves_no_folder_to_resume(recipes: Path, resume: str) -> None:
    folder = recipes / "runs" / "new"
    config = stage_config(recipes, "pretrain", folder, without_column(recipes))
    with pytest.raises(CorpusError, match="absent"):
        run(config, resume)
    assert not folder.exists()


def test_a_mistake_leaves_a_folder_that_was_there(recipes: Path) -> None:
    folder = recipes / "mine"
    folder.mkdir()
    (folder / "notes").write_text("keep\n")
    with pytest.raises(CorpusError, match="absent"):
        run(stage_config(recipes, "pretrain", folder, without_column(recipes)), "never")
    assert (folder / "notes").exists()


def test_a_starting_model_that_is_not_needed_any_more_is_not_exported(recipes: Path) -> None:
    causal, ready = stage_config(recipes, "adapt", recipes / "run"), stage_config(recipes, "sft", recipes / "run")
    assert prepare_stage(causal, causal.folder, lambda text: None, lambda: None, resumed=False).model == str(
        recipes / "run/start"
    )
    assert (
        prepare_stage(ready, ready.folder, lambda text: None, lambda: None, resumed=False).model
        == "builtin:quickstart"
    )
    assert not (recipes / "run" / "start").exists()


def test_an_attempt_that_left_no_checkpoint_left_no_results_either(recipes: Path) -> None:
    config = stage_config(recipes, "pretrain", recipes / "run", "run.steps=null")
    folder = RunFolder.open(config, resume=False)
    for name in ("metrics", "evaluations"):
        folder.append(name, {"step": 0, "held_out/loss": 1.0, "seconds/step": 1.0, "data/tokens": 1.0})
    folder.close()
    (recipes / "run" / "best").mkdir()
    with pytest.raises(ConfigError, match=r"run\.steps: missing"):
        run(config, "auto")
    assert (folder.records("metrics"), folder.records("evaluations")) == ([], [])
    assert not (recipes / "run" / "best").exists()
