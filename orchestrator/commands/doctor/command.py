"""Is this machine ready for a run? One line per question, with the remedy where the answer is no."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.commands.doctor import machine, services
from orchestrator.commands.doctor.check import Check, Probe, Status

__all__ = ["PROBES", "Check", "Probe", "Status", "as_json", "check", "render", "worst"]

_SECONDS = 10.0
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
    "embedded Redis": services.embedded_redis,
    "REDIS_URL": services.redis_url,
    "container engine": services.container_engine,
    "sandbox": services.sandbox,
    "/dev/shm": machine.shared_memory,
    "cgroups": machine.cgroups,
    "open files": machine.open_files,
    "Ray settings": services.ray_settings,
}


def check(probes: dict[str, Probe] | None = None, seconds: float = _SECONDS) -> list[Check]:
    """Ask everything at once and return one line per probe, in order, after at most ``seconds``.

    A probe that has not answered by then, or that failed, is a warning; it never holds up the others.
    """
    asked = PROBES if probes is None else probes
    answers: queue.SimpleQueue[tuple[str, Check]] = queue.SimpleQueue()
    threads = {
        # A daemon, because a probe that hangs must not keep the interpreter from ending.
        name: threading.Thread(target=_answer, args=(name, probe, answers), daemon=True)
        for name, probe in asked.items()
    }
    end = time.monotonic() + seconds
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(0.0, end - time.monotonic()))
    hung = {name for name, thread in threads.items() if thread.is_alive()}
    found: dict[str, Check] = {}
    while not answers.empty():
        name, answer = answers.get()
        found[name] = answer
    return [found.get(name) or _unanswered(name, name in hung, seconds) for name in asked]


def worst(checks: Sequence[Check]) -> int:
    """The exit code: 1 if something is missing, else 0; warnings do not count."""
    return int(any(c.status == "missing" for c in checks))


def as_json(checks: Sequence[Check]) -> str:
    """The same as JSON: ``{"ready": bool, "checks": [{name, status, detail, remedy}]}``."""
    return json.dumps({"ready": worst(checks) == 0, "checks": [asdict(c) for c in checks]}, indent=2)


def render(checks: Sequence[Check]) -> RenderableType:
    """The lines as a table, and a sentence that sums them up."""
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
