"""What the results say: statements with their verdicts, and the courses of arms with bands over the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from evaluation.reproduction.claims import Claim, Statement
from evaluation.reproduction.jobs import Training
from evaluation.reproduction.results import Results
from evaluation.reproduction.rules import Decision, Verdict
from evaluation.reproduction.statistics import Interval, mean_interval


@dataclass(frozen=True)
class Finding:
    """A statement with what is known of it; intervals are None where no seed is done."""

    statement: Statement
    seeds: tuple[int, ...]
    first: Interval | None
    second: Interval | None
    difference: Interval | None
    decision: Decision


@dataclass(frozen=True)
class Arm:
    """What training an arm gave and took, over the seeds that are done; ``seconds`` and ``tokens`` are means."""

    training: Training
    seeds: int
    held_out: Interval
    solved_end: Interval
    updates: float
    samples: float
    tokens: float
    seconds: float


@dataclass(frozen=True)
class Point:
    """A step of an arm: ``x`` is the mean over the seeds, ``y`` has its interval."""

    x: float
    y: Interval


def judge(statement: Statement, results: Results) -> Finding:
    """Apply the rule of a statement to the seeds for which everything that it needs is done."""
    names = [job.name for job in statement.jobs]
    seeds = sorted(set.intersection(*(set(results.get(name, {})) for name in names)))
    figures = [{name: results[name][seed].figures for name in names} for seed in seeds]
    first, second = ([side.value(one) for one in figures] for side in (statement.first, statement.second))
    differences = [statement.difference(one) for one in figures]
    return Finding(
        statement=statement,
        seeds=tuple(seeds),
        first=mean_interval(first) if first else None,
        second=mean_interval(second) if second else None,
        difference=mean_interval(differences) if differences else None,
        decision=statement.rule.decide(differences),
    )


def verdict(findings: Sequence[Finding]) -> str:
    """Say what became of a claim: that of its statements if all have one verdict, else how many are reproduced."""
    verdicts = {finding.decision.verdict for finding in findings}
    if len(verdicts) == 1:
        return verdicts.pop()
    count = sum(finding.decision.verdict is Verdict.REPRODUCED for finding in findings)
    return f"{count} of {len(findings)} reproduced"


def arms(claim: Claim, results: Results) -> list[Arm]:
    """Summarize the arms of a claim of which some seed is done."""
    found = []
    for training in claim.curves:
        done = list(results.get(training.name, {}).values())
        if done:
            means = {name: fmean(one.figures[name] for one in done) for name in ("updates", "samples", "tokens")}
            found.append(
                Arm(
                    training=training,
                    seeds=len(done),
                    held_out=mean_interval([one.figures["held_out"] for one in done]),
                    solved_end=mean_interval([one.figures["solved_end"] for one in done]),
                    seconds=fmean(one.seconds for one in done),
                    **means,
                )
            )
    return found


def course(training: Training, results: Results, x: str, y: str) -> list[Point]:
    """Return the course of figure ``y`` of an arm over ``x``, step by step; nothing where no seed is done."""
    curves = [result.curve for result in results.get(training.name, {}).values()]
    return [
        Point(fmean(point[x] for point in step), mean_interval([point[y] for point in step]))
        for step in zip(*curves, strict=True)
    ]
