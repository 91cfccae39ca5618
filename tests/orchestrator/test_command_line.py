"""Every command: listed without being imported, found when it is used, and ended by one message."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from common.config import Stage
from common.errors import RunFailedError, UserError
from orchestrator.commands.exits import CommandFailedError, CommandLine
from orchestrator.commands.lazy import LazyGroup
from orchestrator.commands.main import main
from orchestrator.commands.recipes import next_recipe
from orchestrator.interrupt import Interrupted

Names = tuple[str, ...]
#: What takes long to import, or is not in the image of the reward service.
HEAVY = ("torch", "ray", "transformers", "deepspeed", "pydantic", "jinja2", "pyarrow", "redis", "fastapi", "rich")


def commands(group: click.Group, path: Names = ()) -> Iterator[tuple[Names, click.Command, str]]:
    """Path, command and summary in its group's list, of every command. Imports them all."""
    context = click.Context(group)
    for name in group.list_commands(context):
        listed = group.get_command(context, name)
        _, command, _ = group.resolve_command(context, [name])
        assert listed is not None
        assert command is not None
        yield (*path, name), command, listed.get_short_help_str(limit=200)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def imported(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has imported after ``code``."""
    code = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["bench", "--help"], ["data"], ["no-such-command"]])
def test_listing_commands_imports_none_of_them(arguments: list[str]) -> None:
    found = imported(
        f"import couplet_rl\nsys.argv[1:] = {arguments}\ntry: couplet_rl.main()\nexcept SystemExit: pass"
    )
    assert "orchestrator" in found
    assert not found & set(HEAVY)


def test_the_reward_service_and_the_doctor_need_neither_torch_nor_ray_nor_templates() -> None:
    names = ("serve_rewards", "sandbox", "doctor.command")
    found = imported("\n".join(f"import orchestrator.commands.{name}" for name in names))
    assert not found & {"torch", "ray", "transformers", "deepspeed", "jinja2"}


def test_every_command_is_what_its_groups_list_says() -> None:
    found = {path: (command, summary) for path, command, summary in commands(main)}
    assert len(found) >= 24
    for path, (command, summary) in found.items():
        assert command.name == path[-1]
        assert command.help is not None
        assert command.help.split("\n\n")[0] == summary, f"{path}: the list and the command's docstring differ"


def test_every_command_has_help() -> None:
    for path, *_ in commands(main):
        result = CliRunner().invoke(main, [*path, "--help"])
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith(f"Usage: main {' '.join(path)} ")


def test_the_shell_completes_names_and_options() -> None:
    def completed(*words: str) -> list[str]:
        *before, last = words
        found = ShellComplete(main, {}, "couplet", "_COUPLET_COMPLETE").get_completions(before, last)
        return [item.value for item in found]

    assert completed("tr") == ["train"]
    assert completed("bench", "") == [
        "agreement",
        "flood",
        "flops",
        "learn",
        "loop",
        "reward-functions",
        "rollout",
        "sandbox",
        "soak",
        "stages",
        "streams",
        "update",
        "weights",
    ]
    assert completed("report", "--o") == ["--out"]


def test_an_unknown_command_is_named_with_one_that_is_like_it() -> None:
    result = CliRunner().invoke(main, ["trian"])
    assert result.exit_code == 2
    assert "trian" in result.stderr
    assert "train" in result.stderr.replace("trian", "")


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (UserError("run.steps: is 0; give 1 or more"), 2, "error: run.steps: is 0; give 1 or more\n"),
        (CommandFailedError("the stream ended"), 1, "error: the stream ended\n"),
        (RunFailedError("rollout-0 died"), 1, "error: the run gave up: rollout-0 died\n"),
        (Interrupted(15), 143, "stopped by SIGTERM; everything it started is stopped too\n"),
    ],
)
def test_an_error_ends_the_command_with_its_message_and_exit_code(
    error: Exception, exit_code: int, message: str
) -> None:
    @click.command()
    def fails() -> None:
        raise error

    inner = LazyGroup(name="inner", lazy={}, commands={"fails": fails})
    outer = CommandLine(name="outer", lazy={}, commands={"inner": inner})
    result = CliRunner().invoke(outer, ["inner", "fails"])
    assert (result.exit_code, result.stdout, result.stderr) == (exit_code, "", message)


def test_a_bug_shows_its_traceback() -> None:
    @click.command()
    def fails() -> None:
        raise ZeroDivisionError

    outer = CommandLine(name="outer", lazy={}, commands={"fails": fails})
    assert isinstance(CliRunner().invoke(outer, ["fails"]).exception, ZeroDivisionError)


@pytest.mark.parametrize("recipe", ["quickstart", "quickstart.yaml", "recipes/quickstart.yaml"])
def test_recipes_of_ours_are_found_by_name_from_anywhere(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["train", recipe, "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "run folder: runs/quickstart" in result.stdout


@pytest.mark.parametrize("recipe", ["tiny_chain/sft", "recipes/tiny_chain/sft.yaml"])
def test_recipes_of_a_chain_are_found_by_folder_and_name(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["sft", recipe, "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "run folder: runs/tiny-chain/sft" in result.stdout
    unknown = CliRunner().invoke(main, ["sft", "tiny_chain/nonsense"])
    assert "those are" in unknown.stderr
    assert "tiny_chain/adapt" in unknown.stderr


def test_a_recipe_of_the_users_goes_before_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart.yaml").write_text("run: {steps: x}\n")
    (tmp_path / "quickstart").mkdir()
    assert "run.steps" in CliRunner().invoke(main, ["train", "quickstart.yaml", "--dry-run"]).stderr
    assert CliRunner().invoke(main, ["train", "quickstart", "--dry-run"]).exit_code == 0


@pytest.mark.parametrize(
    ("recipe", "stage", "following"),
    [
        ("tiny_chain/adapt", "adapt", "tiny_chain/pretrain"),
        ("recipes/tiny_chain/sft.yaml", "sft", "recipes/tiny_chain/train.yaml"),
        ("diffucoder_pretrain", "pretrain", "diffucoder_sft"),
        ("mine/adapt-7b_adapt.yaml", "adapt", "mine/adapt-7b_pretrain.yaml"),
        ("smollm2_adapt", "adapt", None),
        ("mine/other.yaml", "sft", None),
    ],
)
def test_the_recipe_of_the_next_stage_is_found_by_its_name(
    recipe: str, stage: Stage, following: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/adapt-7b_pretrain.yaml").write_text("stage: pretrain\n")
    assert next_recipe(recipe, stage) == following


def test_a_recipe_in_a_folder_that_is_not_there_is_answered_with_ours() -> None:
    unknown = CliRunner().invoke(main, ["adapt", "tiny_chian/adapt"])
    assert unknown.exit_code == 2
    assert "recipe tiny_chian/adapt: no such file" in unknown.stderr
    assert "tiny_chain/adapt" in unknown.stderr


def test_an_error_steers_no_terminal() -> None:
    result = CliRunner().invoke(main, ["reproduce", "\x1b[31mx"], color=True)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: claim \N{REPLACEMENT CHARACTER}[31mx: there is none")
