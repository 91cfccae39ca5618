"""A dry run finds what would keep the run from starting, and tells it from what is not on this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import wandb
from click.testing import CliRunner, Result

from common.models.folder import model_folder
from orchestrator.commands.main import main
from tests.common.tasks.task_rows import OWN, write

RECIPE = """\
run: {name: r, steps: 2}
model: {path: MODEL}
data: {train: train.jsonl, held_out: held_out.jsonl, max_prompt_tokens: 64}
rollout: {completion_length: 64, denoising_steps: 64, batch_tokens: 4096}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    shutil.copytree(model_folder("builtin:quickstart"), tmp_path / "model")
    write(
        tmp_path / "train.jsonl", *({**OWN, "id": f"t{number}", "prompt": "def f(x):\n"} for number in range(20))
    )
    write(tmp_path / "held_out.jsonl", OWN)
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("MODEL", "model"))
    (tmp_path / "dry_rewards.py").write_text(
        "print('imported')\ndef good(task, completion): return 1.0\ndef odd(): return 1.0\nvalue = 3\n"
    )
    (tmp_path / "gone_rewards.py").write_text("import os\nos._exit(3)\n")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wandb.teardown()  # what it read of the environment before
    return tmp_path


def dry_run(*overrides: str, stage: str = "train") -> Result:
    runner = CliRunner(env={"COLUMNS": "250"})
    return runner.invoke(main, [stage, "recipe.yaml", "--dry-run", *overrides], catch_exceptions=False)


@pytest.mark.usefixtures("folder")
def test_everything_that_is_there_is_read_and_nothing_is_written() -> None:
    before = sorted(path.name for path in Path().iterdir())
    result = dry_run(
        "reward.functions=[dry_rewards:good]".replace("[dry_rewards:good]", "[{path: 'dry_rewards:good'}]")
    )
    assert result.exit_code == 0, result.output
    assert "20 training tasks, 1 held out" in result.output
    assert "dry_rewards:good" in result.output
    assert "2 steps of 8 tasks" in result.output
    assert {"__pycache__", *before} >= {path.name for path in Path().iterdir()}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.path=builtin:none"], "model.path 'builtin:none': known built-in models"),
        (["data.max_prompt_tokens=1"], "data.train: no usable task: 20 have prompts of more than 1 tokens"),
        (["data.max_prompt_tokens=1000"], "the model knows 512 positions"),
        (
            ["reward.functions=[{path: 'dry_rewards:none'}]"],
            "reward.functions.0.path: 'dry_rewards' has no 'none'",
        ),
        (["reward.functions=[{path: 'nowhere:f'}]"], "reward.functions.0.path: cannot import 'nowhere'"),
        (["reward.functions=[{path: 'dry_rewards:value'}]"], "dry_rewards:value is int; name a function"),
        (["reward.functions=[{path: 'dry_rewards:odd'}]"], "reward.functions.0"),
        (["reward.functions=[{path: 'gone_rewards:f'}]"], "reward.functions.0.path: gone_rewards:f"),
        (["telemetry.loggers=[wandb]"], "telemetry.loggers: wandb: nobody is logged in here"),
        (["reward.packages=absent"], "packages: absent is no folder"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_would_keep_the_run_from_starting_is_an_error(overrides: list[str], message: str) -> None:
    result = dry_run(*overrides)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "error: the run would not start: " in result.stderr
    assert "run folder:" in result.stdout


def test_rows_that_cannot_be_read_are_an_error_and_files_that_are_elsewhere_are_not(folder: Path) -> None:
    (folder / "held_out.jsonl").write_text("{\n")
    result = dry_run()
    assert (result.exit_code, "held_out.jsonl, line 1: not JSON" in result.stderr) == (2, True)
    (folder / "held_out.jsonl").unlink()
    result = dry_run()
    assert result.exit_code == 0, result.output
    assert "held_out.jsonl: there is no such file" in result.output
    shutil.rmtree(folder / "model")
    result = dry_run("reward.functions=[{path: 'nowhere:f'}]", "ray.address=auto")
    assert result.exit_code == 0, result.output
    assert "the machines of the reward workers need it" in result.output
    assert "there is no folder model" in result.output


def test_a_model_whose_files_are_wrong_is_an_error_and_one_without_weights_is_not(folder: Path) -> None:
    (folder / "model/model.safetensors").unlink()
    assert dry_run().exit_code == 0
    (folder / "model/tokenizer.json").unlink()
    result = dry_run()
    assert result.exit_code == 0, result.output
    assert "no tokenizer: needs tokenizer.json" in result.output
    (folder / "model/config.json").write_text("{")
    result = dry_run()
    assert (result.exit_code, "config.json: not JSON" in result.stderr) == (2, True)


def test_a_stage_is_checked_too(folder: Path) -> None:
    recipe = (
        "stage: sft\nrun: {steps: 1}\nmodel: {path: model}\ndata: {sources: [chats.jsonl], context_length: 64}\n"
    )
    (folder / "recipe.yaml").write_text(recipe)
    assert dry_run(stage="sft").exit_code == 0
    (folder / "chats.jsonl").write_text(json.dumps({"prompt": "p", "answer": "a"}) + "\n")
    assert dry_run(stage="sft").exit_code == 0
    result = dry_run("telemetry.loggers=[wandb]", stage="sft")
    assert (result.exit_code, "nobody is logged in" in result.stderr) == (2, True)
    result = dry_run("data.sources=[chats.py]", stage="sft")
    assert result.exit_code == 0, result.output
    (folder / "model/config.json").write_text("{")
    assert dry_run(stage="sft").exit_code == 2
