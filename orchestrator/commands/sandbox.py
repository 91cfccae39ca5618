"""``couplet sandbox``: one program through the sandbox, by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console
from rich.text import Text

from common.config import RewardConfig
from sandbox.types import Case, CaseRun, Limits, Outcome, Program, Sandbox, SandboxUnavailable

_DEFAULTS = Limits()
_STYLES = {Outcome.OK: "green", Outcome.INFRA: "bold red"}
_FAILED, _UNUSABLE, _INFRA = 1, 2, 3
_SECONDS = click.FloatRange(min=0, min_open=True)
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


@click.group("sandbox")
def sandbox_command() -> None:
    """Run untrusted programs in isolation."""


@sandbox_command.command()
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
    """Run PROGRAM, a Python file or - for standard input, and say what became of it.

    Its output goes to standard output, the rest to standard error. Exit code: 0 it ended well, 1 it did not, 2 it
    could not be run, 3 the sandbox failed.
    """
    source = _text(program, "PROGRAM")
    case = Case("run", "stdin", stdin="" if stdin_file is None else _text(stdin_file, "--stdin"))
    sandbox = _sandbox(backend, level, memory_mb)
    try:
        (done,) = sandbox.run(Program(source, (case,)), Limits(cpu_seconds, wall_seconds, memory_mb))
        facts = sandbox.describe()
    finally:
        sandbox.close()
    where = {"backend": str(facts.get("backend", backend)), "level": str(facts.get("level", ""))}
    if as_json:
        click.echo(json.dumps({**_plain(done), **where}))
    else:
        _show(done, where)
    sys.exit({Outcome.OK: 0, Outcome.INFRA: _INFRA}.get(done.outcome, _FAILED))


@sandbox_command.command()
@_BACKEND
@_LEVEL
def info(backend: str, level: str) -> None:
    """What the sandbox is on this machine, as JSON."""
    sandbox = _sandbox(backend, level, _DEFAULTS.memory_mb)
    try:
        click.echo(json.dumps(sandbox.describe(), indent=2))
    finally:
        sandbox.close()


def _sandbox(backend: str, level: str, memory_mb: int) -> Sandbox:
    from reward_service.reward_actor import make_sandbox

    settings = {"backend": backend, "sandbox_level": level, "sandbox_slots": 1, "memory_mb": memory_mb}
    try:
        return make_sandbox(RewardConfig.model_validate(settings))
    except SandboxUnavailable as error:
        _give_up(str(error))


def _text(path: Path, name: str) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" and name == "PROGRAM" else path.read_text("utf-8")
    except UnicodeDecodeError as error:
        _give_up(f"{name} {path}: not UTF-8 text: {error}")
    except OSError as error:
        _give_up(f"{name} {path}: cannot be read: {error.strerror}")


def _give_up(message: str) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(_UNUSABLE)


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
        click.echo(_harmless(done.stdout.decode("utf-8", "replace")), nl=not done.stdout.endswith(b"\n"))
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
        console.print(Text(_harmless(done.note)))


def _harmless(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)
