"""What the command line says when it cannot do what was asked, and that it then leaves nothing behind."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from orchestrator.commands.main import main

RECIPES = Path(__file__).parents[2] / "recipes"
NAMES = sorted(path.relative_to(RECIPES).as_posix() for path in RECIPES.rglob("*.yaml"))


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def couplet(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def assert_refused(result: Result, *told: str) -> None:
    """One message on stderr that begins with "error:", and exit code 2."""
    assert result.exit_code == 2, result.output
    assert "error" not in result.stdout
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("error: ") == 1
    assert "Traceback" not in result.stderr
    for words in told:
        assert words in result.stderr


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["learner.learning_rat=1"], ["learner.learning_rat", "unknown key", "groups_per_step"]),
        (["learners.ranks=1"], ["learners", "unknown key", "learner, "]),
        (["run.steps=many"], ["run.steps", "'many'"]),
        (["learner.objective.clip=-1"], ["learner.objective.clip", "greater than 0"]),
        (["rollout.group_size=1"], ["rollout.group_size", "greater than or equal to 2"]),
        (["rollout.denoising_steps=500"], ["denoising_steps", "more steps than tokens"]),
        (["run.name=a/b"], ["run.name"]),
        (["run.steps"], ["section.field=value"]),
        (["run.steps.more=1"], ["steps is a value, not a section"]),
        (["run.seed=[1"], ["not valid YAML"]),
        (["data.source=file", "data.train=absent.jsonl"], ["absent.jsonl"]),
        (["model.path=./absent"], ["model.path", "no such folder"]),
        (["model.path=builtin:other"], ["builtin:quickstart"]),
        (["streams.url=http://localhost"], ["streams.url", "not a Redis address"]),
    ],
)
def test_what_cannot_be_used_is_explained(empty_folder: Path, overrides: list[str], told: list[str]) -> None:
    assert_refused(couplet("train", "quickstart.yaml", "--plain", *overrides), *told)
    assert list(empty_folder.iterdir()) == []


def test_all_mistakes_of_a_recipe_are_told_at_once(empty_folder: Path) -> None:
    result = couplet(
        "train", "quickstart.yaml", "run.stepss=1", "rollout.group_size=1", "learner.objective.clip=x"
    )
    assert_refused(result, "run.stepss", "rollout.group_size", "learner.objective.clip")


def test_an_unknown_recipe_is_named(empty_folder: Path) -> None:
    assert_refused(couplet("train", "no-such-recipe.yaml"), "no-such-recipe.yaml: no such file")
    assert list(empty_folder.iterdir()) == []


@pytest.mark.parametrize("text", ["run: [", "- a\n- b\n", "", "run: {steps: 1}\n"])
def test_a_file_that_is_no_recipe_is_named(empty_folder: Path, text: str) -> None:
    (empty_folder / "mine.yaml").write_text(text)
    assert_refused(couplet("train", "mine.yaml"), "mine.yaml")
    assert [path.name for path in empty_folder.iterdir()] == ["mine.yaml"]


def test_no_redis_at_the_address(empty_folder: Path) -> None:
    port = closed_port()
    url = f"redis://:secret-word@127.0.0.1:{port}/0"
    result = couplet("train", "quickstart.yaml", f"streams.url={url}", "reward.sandbox_level=uid")
    assert_refused(result, f"127.0.0.1:{port}", "no Redis answers")
    assert "secret-word" not in result.stderr
    assert list(empty_folder.iterdir()) == []


def test_a_taken_run_folder(empty_folder: Path) -> None:
    taken = empty_folder / "mine"
    taken.mkdir()
    (taken / "run.json").write_text('{"run_id": "mine-1"}\n')
    (taken / "metrics.jsonl").write_text('{"step": 1}\n')
    result = couplet("train", "quickstart.yaml", "run.folder=mine", "reward.sandbox_level=uid")
    assert_refused(result, "run folder mine holds a run already", "--resume auto")
    assert sorted(path.name for path in taken.iterdir()) == ["metrics.jsonl", "run.json"]


def test_a_checkpoint_that_is_not_there(empty_folder: Path) -> None:
    result = couplet("train", "quickstart.yaml", "--resume", "absent/step-000003")
    assert_refused(result, "--resume absent/step-000003", "not a usable checkpoint")
    assert list(empty_folder.iterdir()) == []


def test_quickstart_overrides_are_checked_too(empty_folder: Path) -> None:
    assert_refused(couplet("quickstart", "rollout.group_size=1"), "rollout.group_size")
    assert list(empty_folder.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_prints_the_plan_and_starts_nothing(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("a dry run started something")

    monkeypatch.setattr("ray.init", started)
    monkeypatch.setattr("subprocess.Popen.__init__", started)
    recipe = RECIPES / name
    stage = yaml.safe_load(recipe.read_text()).get("stage")
    result = couplet(stage or "train", str(recipe), "--dry-run")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    actors = ("learner",) if stage else ("rollout", "reward", "learner")
    for words in (*actors, "resources:", "memory", "training:", "run folder:"):
        assert words in result.stdout
    assert list(empty_folder.iterdir()) == []


def test_a_dry_run_shows_overrides_and_resources(empty_folder: Path) -> None:
    result = couplet(
        "train", "quickstart.yaml", "--dry-run", "rollout.workers=3", "rollout.gpus_per_worker=2", "run.name=mine"
    )
    assert result.exit_code == 0, result.output
    assert "workers: 3" in result.stdout
    assert "resources: 6 GPU" in result.stdout
    assert str(Path("runs") / "mine") in result.stdout


def test_help_and_version_work() -> None:
    assert "quickstart" in couplet("--help").stdout
    assert couplet("--version").exit_code == 0
