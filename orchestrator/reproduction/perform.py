"""How each kind of job is done. Imported by the processes that do them alone: it takes the learner along."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from common.ar_ness import decode_order, global_ar_ness, never_committed
from common.config import Config, load_config
from common.models.loading import load_model
from common.records import TrajectoryGroup
from evaluation.pass_at_k import pass_at_k
from evaluation.reproduction.jobs import Enumeration, Job, Probe, Training
from evaluation.reproduction.results import Result, ResultFolder
from evaluation.variance_exact import analyze_exactly, tiny_case
from learner.learner_loop import StepReport
from orchestrator.curriculum import load_data
from orchestrator.reproduction.compute import learner_tokens, rollout_tokens
from orchestrator.reproduction.in_process import HeldOut, group_maker, in_process_run
from orchestrator.revision import code_revision

#: Figures of the end of training are means over the last steps of it, this share of all.
_END = 0.25
_CURVE = {
    "reward": "reward/mean",
    "solved": "reward/solved",
    "local_ar_ness": "diffusion/executed_ar_ness_local",
    "global_ar_ness": "diffusion/executed_ar_ness_global",
    "estimator_variance": "policy/estimator_variance",
}


def perform(job: Job, seed: int, folder: ResultFolder, recipe: Path) -> None:
    """Do a job by its overrides of ``recipe``; write its result, and before that the weights that others need."""
    started = time.perf_counter()
    overrides = job.overrides(seed)
    figures: dict[str, float]
    curve: list[dict[str, float]] = []
    match job:
        case Training():
            figures, curve = _train(job, load_config(recipe, overrides), seed, folder)
        case Probe():
            figures = _probe(job, load_config(recipe, overrides), seed, folder)
        case Enumeration():
            figures = _enumerate(seed)
    folder.write(
        job,
        seed,
        Result(
            job=job.name,
            seed=seed,
            overrides=overrides,
            commit=code_revision(),
            seconds=time.perf_counter() - started,
            figures=figures,
            curve=tuple(curve),
        ),
    )


def _train(
    job: Training, config: Config, seed: int, folder: ResultFolder
) -> tuple[dict[str, float], list[dict[str, float]]]:
    curve: list[dict[str, float]] = []
    samples = tokens = 0
    with in_process_run(config) as run:
        for step in range(1, config.run.total_steps + 1):
            report = run.step()
            samples += report.samples
            tokens += _tokens(report, config)
            point = {name: report.metrics[key] for name, key in _CURVE.items() if key in report.metrics}
            curve.append({"step": step, "updates": run.updates, "samples": samples, "tokens": tokens, **point})
        held_out = run.evaluate().pass_rate
        if job.keep:
            run.export(folder.weights(job, seed))
    end = curve[-max(1, round(_END * len(curve))) :]
    figures = {
        "held_out": held_out,
        "solved_end": fmean(point["solved"] for point in end),
        "updates": float(run.updates),
        "samples": float(samples),
        "tokens": float(tokens),
    }
    spreads = [point["estimator_variance"] for point in curve if "estimator_variance" in point]
    return figures | ({"estimator_variance": fmean(spreads)} if spreads else {}), curve


def _tokens(report: StepReport, config: Config) -> int:
    return rollout_tokens(report.groups) + learner_tokens(report.groups, config.learner, config.run.seed)


def _probe(job: Probe, config: Config, seed: int, folder: ResultFolder) -> dict[str, float]:
    _, held_out = load_data(config, [])
    with group_maker(config) as maker:
        path = config.model.path if job.arm is None else str(folder.weights(job.arm, seed))
        maker.load(load_model(path).named_parameters(), version=0)
        groups = HeldOut(config, maker, held_out[: job.tasks]).groups()
    return _completion_figures(groups)


def _completion_figures(groups: Sequence[TrajectoryGroup]) -> dict[str, float]:
    """Return pass@1, pass@n of the n samples of a task, and the AR-ness of all commits in their order."""
    scored = [[score.passed for score in group.scores if not score.excluded] for group in groups]
    solved = [(len(passed), sum(passed)) for passed in scored if passed]
    rollouts = [rollout for group in groups if group.rollouts is not None for rollout in group.rollouts.rollouts]
    steps = [rollout.executed_step_map for rollout in rollouts]
    return {
        "pass_1": fmean(pass_at_k(count, passed, 1) for count, passed in solved),
        "pass_all": fmean(pass_at_k(count, passed, count) for count, passed in solved),
        "global_ar_ness": fmean(global_ar_ness(decode_order(one), 1, never_committed(one)) for one in steps),
        "tokens_per_forward": sum(rollout.text_tokens for rollout in rollouts)
        / sum(rollout.forwards for rollout in rollouts),
    }


def _enumerate(seed: int) -> dict[str, float]:
    """Return the variances of coupled and decoupled estimates, of a token and of a text."""
    figures = {}
    rows = [row for row in analyze_exactly(*tiny_case(seed)).rows if row.name in ("coupled", "decoupled")]
    for row in rows:
        for level in ("token", "sequence"):
            figures[f"{row.name}_{row.setting.replace(' ', '_')}_{level}"] = getattr(row, level).variance.value
    return figures
