from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from common.config import Config, ConfigError, load_config
from orchestrator.commands.main import main
from orchestrator.preflight import check_run
from orchestrator.run_length import run_length, with_steps

RECIPE = """
run: {name: short, epochs: 1}
model: {path: builtin:quickstart}
data: {train: train.jsonl, max_prompt_tokens: 12}
rollout: {completion_length: 8, denoising_steps: 4, group_size: 2}
reward: {sandbox_level: uid}
learner: {groups_per_step: 3}
"""


def config_of(groups: int = 8, **run: Any) -> Config:
    return Config.model_validate(
        {
            "run": run,
            "model": {"path": "builtin:quickstart"},
            "data": {"source": "synthetic"},
            "learner": {"groups_per_step": groups},
            "admission": {"max_in_flight": groups},
        }
    )


@pytest.mark.parametrize(
    ("epochs", "tasks", "groups", "steps"),
    [
        (1, 21_000, 8, 2625),
        (1, 21_007, 8, 2625),
        (1, 21_000, 72, 291),
        (2, 21, 8, 5),
        (0.5, 64, 8, 4),
        (0.29, 100, 1, 29),
    ],
)
def test_epochs_become_the_whole_steps_of_the_loaded_tasks(
    epochs: float, tasks: int, groups: int, steps: int
) -> None:
    config = config_of(groups, epochs=epochs)
    length = run_length(config, tasks)
    assert (length.steps, length.warning()) == (steps, None)
    assert length.epochs == pytest.approx(steps * groups / tasks)
    assert length.epochs <= epochs
    assert with_steps(config, length.steps).run.total_steps == steps


def test_steps_that_go_into_a_second_epoch_say_so() -> None:
    assert run_length(config_of(steps=2625), 21_000).warning() is None
    warning = run_length(config_of(steps=2600), 20_000).warning()
    assert warning is not None
    assert "go into epoch 2, from step 2,501 on" in warning
    assert "run.epochs: 1 ends after 2,500 steps" in warning
    assert "epoch 3" in str(run_length(config_of(steps=6), 20).warning())
    assert "from step 1 on: tasks are trained on again; lower" in str(run_length(config_of(steps=1), 5).warning())


def test_a_length_in_no_unit_or_of_no_step_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"run\.steps: missing, and run\.epochs too; give one of the two"):
        run_length(config_of(), 100)
    with pytest.raises(ConfigError, match=r"data\.train: no usable task"):
        run_length(config_of(steps=1), 0)
    with pytest.raises(ConfigError, match=r"run\.epochs: 1 of 5 training tasks fill no step of 8 groups"):
        run_length(config_of(epochs=1), 5)
    with pytest.raises(ConfigError, match=r"run\.steps: not known"):
        _ = config_of(epochs=1).run.total_steps


def test_a_recipe_has_one_unit_and_an_override_replaces_it(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    assert load_config(recipe).run.epochs == 1
    for override, found in (("run.steps=7", (7, None)), ("run.epochs=2", (None, 2))):
        run = load_config(recipe, [override]).run
        assert (run.steps, run.epochs) == found
    with pytest.raises(ConfigError, match=r"run\.epochs: Input should be a finite number"):
        load_config(recipe, ["run.epochs=.inf"])
    with pytest.raises(ConfigError, match="run: steps: given beside epochs; a run has one length") as error:
        load_config(recipe, ["run.steps=7", "run.epochs=2"])
    assert str(error.value).count("\n") == 1
    recipe.write_text(RECIPE.replace("epochs: 1", "epochs: 1, steps: 3"))
    with pytest.raises(ConfigError, match="a run has one length"):
        load_config(recipe)


def write_tasks(path: Path, count: int) -> None:
    """Write ``count`` tasks with short prompts and two with long ones."""
    tests = [{"call": "f()", "expected": "1"}]
    prompts = ["x = 1\n"] * count + ["x = 1\n" * 9] * 2
    rows = [{"id": i, "prompt": prompt, "tests": tests} for i, prompt in enumerate(prompts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def dry_run(*overrides: str) -> tuple[int, str]:
    """Return the exit code and what was printed, its lines joined: the console breaks them."""
    result = CliRunner().invoke(main, ["train", "recipe.yaml", "--dry-run", *overrides])
    return result.exit_code, " ".join(result.output.split())


def test_a_dry_run_counts_the_tasks_that_would_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(RECIPE)
    code, output = dry_run()
    assert code == 0, output
    assert "training: run.epochs 1; the tasks cannot be counted here: train.jsonl: there is no such file" in output
    write_tasks(Path("train.jsonl"), 20)
    _, output = dry_run()
    assert "training: 6 steps of 3 tasks: 0.9 epochs of 20 training tasks; 36 samples" in output
    assert "2 tasks have prompts of more than 12 tokens" in output
    _, output = dry_run("model.path=someone/else")
    assert "training: 7 steps of 3 tasks: 0.9545 epochs of 22 training tasks; 42 samples" in output
    assert "data.train: counted with the prompts of more than 12 tokens" in output
    _, output = dry_run("run.steps=8")
    assert "training: 8 steps of 3 tasks: 1.2 epochs of 20 training tasks; 48 samples" in output
    assert "go into epoch 2, from step 7 on" in output
    code, output = dry_run("run.epochs=null")
    assert code == 2
    assert "run.steps: missing, and run.epochs too" in output


def test_a_run_starts_from_the_same_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(RECIPE)
    write_tasks(Path("train.jsonl"), 20)
    inputs = check_run(load_config(Path("recipe.yaml")), "never")
    assert inputs.length.steps == 6
    assert "training: 6 steps of 3 tasks: 0.9 epochs of 20 training tasks" in inputs.notes
    inputs = check_run(load_config(Path("recipe.yaml"), ["run.steps=8"]), "never")
    assert any("go into epoch 2" in note for note in inputs.notes)


def test_the_best_weights_are_not_kept_without_anything_to_measure_them_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(RECIPE)
    write_tasks(Path("train.jsonl"), 20)
    with pytest.raises(ConfigError, match=r"run\.keep_best: without held-out tasks .*; set data\.held_out"):
        check_run(load_config(Path("recipe.yaml"), ["run.keep_best=true"]), "never")
