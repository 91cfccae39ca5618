"""``couplet doctor``: one line for each question about this machine, with the remedy where the answer is no."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.util import find_spec

import click
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.commands.doctor import machine, services
from orchestrator.commands.doctor.machine import Check, Status

Probe = Callable[[], Check]
_SECONDS = 10.0
#: Lines that are given longer: where vLLM is installed it is imported, for up to ``services.VLLM_SECONDS``.
_LONGER = {"vllm": services.VLLM_SECONDS + _SECONDS}
_MARKS: dict[Status, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "missing": ("✗", "bold red"),
}

#: Line -> the question behind it.
PROBES: dict[str, Probe] = {
    "Python": machine.python,
    "CPU cores": machine.cores,
    "memory": machine.memory,
    "disk": machine.disk,
    "GPU": machine.gpu,
    "C++ compiler": machine.compiler,
    **{probe.args[0]: probe for probe in services.PACKAGES},
    "vllm": services.vllm,
    "embedded Redis": services.embedded_redis,
    "REDIS_URL": services.redis_url,
    "container engine": services.container_engine,
    "sandbox": services.sandbox,
    "/dev/shm": machine.shared_memory,
    "cgroups": machine.cgroups,
    "open files": machine.open_files,
    "Ray settings": services.ray_settings,
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def doctor(as_json: bool) -> None:
    """Check whether this machine is ready for a run.

    Prints a remedy for what is missing. Exit code: 0 it is ready, 1 something is missing.
    """
    if find_spec("vllm") is not None:
        click.echo("importing vllm to see whether it works, which may take a minute", err=True)
    checks = check()
    if as_json:
        click.echo(report(checks))
    else:
        Console().print(render(checks))
    click.get_current_context().exit(exit_code(checks))


def check(probes: dict[str, Probe] | None = None, seconds: float = _SECONDS) -> list[Check]:
    """Ask everything at once and return one line per probe, in order.

    A probe that has not answered within ``seconds`` (those of ``_LONGER`` within theirs), or that failed, is a
    warning; it never holds up the others.
    """
    asked = PROBES if probes is None else probes
    answers: queue.SimpleQueue[tuple[str, Check]] = queue.SimpleQueue()
    threads = {
        # A daemon, because a probe that hangs must not keep the interpreter from ending.
        name: threading.Thread(target=_answer, args=(name, probe, answers), daemon=True)
        for name, probe in asked.items()
    }
    given = {name: max(seconds, _LONGER.get(name, 0.0)) for name in asked}
    began = time.monotonic()
    for thread in threads.values():
        thread.start()
    for name, thread in threads.items():
        thread.join(max(0.0, began + given[name] - time.monotonic()))
    hung = {name for name, thread in threads.items() if thread.is_alive()}
    found: dict[str, Check] = {}
    while not answers.empty():
        name, answer = answers.get()
        found[name] = answer
    return [found.get(name) or _unanswered(name, name in hung, given[name]) for name in asked]


def exit_code(checks: Sequence[Check]) -> int:
    """Return 1 if something is missing, else 0; warnings do not count."""
    return int(any(c.status == "missing" for c in checks))


def report(checks: Sequence[Check]) -> str:
    """Write the lines as JSON: ``{"ready": bool, "checks": [{name, status, detail, remedy}]}``."""
    return json.dumps({"ready": exit_code(checks) == 0, "checks": [asdict(c) for c in checks]}, indent=2)


def render(checks: Sequence[Check]) -> RenderableType:
    """Lay the lines out as a table, with a sentence that sums them up."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for c in checks:
        mark, style = _MARKS[c.status]
        detail = Text(c.detail, overflow="fold")
        if c.remedy:
            detail.append(f"\n→ {c.remedy}", style)
        table.add_row(Text(mark, style), Text(c.name, "bold", no_wrap=True), detail)
    missing = [c.name for c in checks if c.status == "missing"]
    warnings = sum(c.status == "warning" for c in checks)
    summary = f"Not ready: {', '.join(missing)}." if missing else "Ready for a run."
    if warnings:
        summary += f" {warnings} warning{'s' * (warnings > 1)}."
    return Group(table, "", Text(summary, "bold red" if missing else "bold green"))


def _answer(name: str, probe: Probe, answers: queue.SimpleQueue[tuple[str, Check]]) -> None:
    answers.put((name, probe()))


def _unanswered(name: str, hung: bool, seconds: float) -> Check:
    if hung:
        return Check(name, "warning", f"no answer within {seconds:g} s", "the machine may be busy: try again")
    return Check(name, "warning", "the check itself failed; its error is above", "report it as a bug")
