"""Whether tests accept their task's own solution and notice wrong ones: the work of ``couplet data check``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from common.records import Task, Verdict
from common.tasks.libraries import missing
from orchestrator.commands.data.mutants import (
    Mutant,
    changed_answers,
    changed_javascript,
    constant_mutants,
    fixed_answers,
    fixed_javascript,
    fixed_mutants,
)
from reward_service.completions import Completions
from reward_service.extraction import reference_program
from reward_service.results import Scored
from reward_service.scoring import Scorer

MUTANTS = ("constant", "empty", "exit", "equal")
_CHARS = 200


@dataclass(frozen=True)
class TaskReport:
    """``state``: passed, failed, or left (not run), and ``reason`` says why.

    ``killed`` and ``survived``: mutants by kind, the latter with what was changed. ``unnoticed``: changes of a
    constant that no test noticed, before one was. ``forgeable``: the tests ran in the solution's own process.
    """

    task: str
    state: str
    reason: str = ""
    killed: tuple[str, ...] = ()
    survived: dict[str, str] = field(default_factory=dict)
    unnoticed: int = 0
    forgeable: bool = False


def check_tasks(
    scorer: Scorer, tasks: Sequence[Task], packages: Path | None, slots: int, advance: Callable[[], None]
) -> list[TaskReport]:
    """One report per task, in order. ``packages``: the site-packages folder that programs may import from."""
    reports: dict[int, TaskReport] = {}
    pool = ThreadPoolExecutor(slots + 1, thread_name_prefix="check")
    try:
        places = {pool.submit(_check, scorer, task, packages): place for place, task in enumerate(tasks)}
        for future in as_completed(places):
            reports[places[future]] = future.result()
            advance()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [reports[place] for place in range(len(tasks))]


def _check(scorer: Scorer, task: Task, packages: Path | None) -> TaskReport:
    whole = reference_program(task)
    if whole is None or task.reference is None:
        return TaskReport(task.id, "left", "it has no reference")
    needs = missing(task, packages)
    if needs:
        return TaskReport(task.id, "left", f"needs {', '.join(needs)}")
    text = f"```{task.language}\n{task.reference}\n```\n" if task.completion == "fenced" else task.reference
    try:
        (own,) = scorer.examine(Completions(task, [text]))
    except ValueError as error:
        return TaskReport(task.id, "failed", str(error).removeprefix(f"task {task.id!r}, ")[:_CHARS])
    if not own.score.passed:
        return TaskReport(task.id, "failed", _why_not(task, own), forgeable=own.score.forgeable)
    # The same task with whole programs for completions, which a mutant is.
    bare = task.model_copy(update={"prefix": "", "suffix": "", "completion": "continuation", "reference": whole})
    fixed, changed = _wrong_versions(task, task.reference, whole)
    killed, survived, unnoticed = [], {}, 0
    for kind, mutant in fixed.items():
        if _passes(scorer, bare, mutant):
            survived[kind] = mutant.change
        else:
            killed.append(kind)
    last = None
    for last in changed:
        if not _passes(scorer, bare, last):
            killed.append("constant")
            break
        unnoticed += 1
    else:
        survived["constant"] = (
            "it has nothing to change" if last is None else f"the last of {unnoticed}: {last.change}"
        )
    return TaskReport(task.id, "passed", "", tuple(killed), survived, unnoticed, own.score.forgeable)


def _wrong_versions(task: Task, reference: str, whole: str) -> tuple[dict[str, Mutant], Iterator[Mutant]]:
    """Return whole programs that are wrong by kind, and those with one change after the other."""
    if task.completion.startswith("asserted"):
        only_one = task.completion == "asserted_value"
        return fixed_answers(task.prefix), changed_answers(task.prefix, reference, only_one=only_one)
    if task.language != "python":
        return fixed_javascript(), changed_javascript(whole)
    names = {*task.exports, *([task.entry_point] if task.entry_point else [])}
    return fixed_mutants(whole, names), constant_mutants(whole, names)


def _passes(scorer: Scorer, task: Task, mutant: Mutant) -> bool:
    """A mutant that the sandbox failed on counts as passed: nobody has seen it fail."""
    (scored,) = scorer.examine(Completions(task, [mutant.source]))
    return scored.score.passed or scored.score.excluded


def _why_not(task: Task, scored: Scored) -> str:
    failed = [(index, report) for index, report in enumerate(scored.tests) if report.verdict is not Verdict.PASSED]
    index, report = failed[0]
    test = task.tests[index]
    said = " ".join((test.call or test.script or "stdin").split())
    note = f": {report.note}" if report.note else ""
    return f"{len(failed)} of {len(task.tests)} tests, first {report.verdict} on {said}"[:_CHARS] + note[:_CHARS]
