"""``couplet sandbox``: one program through the sandbox, by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from common.config import RewardConfig
from common.errors import UserError
from common.language import Language
from orchestrator.commands.numbers import FiniteRange
from orchestrator.report.text import clean
from reward_service.configured import make_sandbox
from sandbox.types import Case, CaseRun, Limits, Outcome, Program, Sandbox

_DEFAULTS = Limits()
_STYLES = {Outcome.OK: "green", Outcome.INFRA: "bold red"}
_EXIT_CODES = {Outcome.OK: 0, Outcome.INFRA: 3}
_PROGRAM_FAILED = 1
_SECONDS = FiniteRange(min=0, min_open=True)
_BACKEND = click.option(
    "--backend", type=click.Choice(("jail", "docker")), default="jail", show_default=True, help="What keeps it in."
)
_LEVEL = click.option(
    "--level",
    type=click.Choice(("jail", "namespaces", "uid")),
    default="namespaces",
    show_default=True,
    help="Weakest acceptable isolation of the jail backend.",
)


@click.group()
def sandbox() -> None:
    """Run untrusted programs in isolation."""


@sandbox.command()
@click.argument("program", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--stdin", "stdin_file", type=click.Path(path_type=Path), help="What the program reads.")
@_BACKEND
@_LEVEL
@click.option("--cpu-seconds", default=_DEFAULTS.cpu_s, show_default=True, type=_SECONDS)
@click.option("--wall-seconds", default=_DEFAULTS.wall_s, show_default=True, type=_SECONDS)
@click.option("--memory-mb", default=_DEFAULTS.memory_mb, show_default=True, type=click.IntRange(min=1))
@click.option("--json", "as_json", is_flag=True, help="One JSON object, the output included.")
def run(
    program: Path,
    stdin_file: Path | None,
    backend: str,
    level: str,
    cpu_seconds: float,
    wall_seconds: float,
    memory_mb: int,
    as_json: bool,
) -> None:
    """Run one program, and say what became of it.

    PROGRAM is a Python file, or - for standard input; a file named .js is run by Node.js. Its output goes to
    standard output, the rest to standard error. Exit code: 0 it ended well, 1 it did not, 2 it could not be run, 3
    the sandbox failed.
    """
    source = _text(program, "PROGRAM")
    case = Case("run", "stdin", stdin="" if stdin_file is None else _text(stdin_file, "--stdin"))
    box = _open(backend, level, memory_mb)
    try:
        language: Language = "javascript" if program.suffix == ".js" else "python"
        facts = box.describe()
        if language not in facts.get("languages", ["python"]):
            raise UserError(f"PROGRAM {program}: the sandbox runs no {language} here; install Node.js (nodejs)")
        limits = Limits(cpu_seconds, wall_seconds, memory_mb)
        (done,) = box.run(Program(source, (case,), language=language), limits)
    finally:
        box.close()
    where = {"backend": str(facts.get("backend", backend)), "level": str(facts.get("level", ""))}
    if as_json:
        click.echo(json.dumps({**_plain(done), **where}))
    else:
        _show(done, where)
    click.get_current_context().exit(_EXIT_CODES.get(done.outcome, _PROGRAM_FAILED))


@sandbox.command()
@_BACKEND
@_LEVEL
def info(backend: str, level: str) -> None:
    """Describe the sandbox of this machine, as JSON."""
    box = _open(backend, level, _DEFAULTS.memory_mb)
    try:
        click.echo(json.dumps(box.describe(), indent=2))
    finally:
        box.close()


def _open(backend: str, level: str, memory_mb: int) -> Sandbox:
    """Raises SandboxUnavailable."""
    settings = {"backend": backend, "sandbox_level": level, "sandbox_slots": 1, "memory_mb": memory_mb}
    return make_sandbox(RewardConfig.model_validate(settings))


def _text(path: Path, name: str) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" and name == "PROGRAM" else path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} {path}: not UTF-8 text: {error}") from error
    except OSError as error:
        raise UserError(f"{name} {path}: cannot be read: {error.strerror}") from error


def _plain(done: CaseRun) -> dict[str, object]:
    return {
        "outcome": done.outcome.value,
        "exit_code": done.exit_code,
        "stdout": done.stdout.decode("utf-8", "replace"),
        "stderr": done.stderr.decode("utf-8", "replace"),
        "note": done.note,
        "cpu_s": round(done.cpu_s, 6),
        "wall_s": round(done.wall_s, 6),
    }


def _show(done: CaseRun, where: dict[str, str]) -> None:
    if sys.stdout.isatty():
        printed = done.stdout.decode("utf-8", "replace")
        click.echo(clean(printed, len(printed)), nl=not done.stdout.endswith(b"\n"))
    else:
        sys.stdout.buffer.write(done.stdout)
        sys.stdout.flush()
    line = Text.assemble(
        (done.outcome.value, _STYLES.get(done.outcome, "yellow")),
        f"  {done.cpu_s:.3f} s CPU, {done.wall_s:.3f} s  {where['backend']} backend, level {where['level']}",
    )
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(line)
    if done.note:
        console.print(Text(clean(done.note)))
