"""What an analysis cannot show of an evaluation, and the command that supplies it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from common.records import Sampler
from evaluation.analysis.measures import Measured
from evaluation.analysis.recorded import RecordedEvaluation
from evaluation.analysis.side import Side, Topic, pass_ks
from orchestrator.report.analysis.steps_figures import absent_steps

#: What is asked for where there is one temperature, and where there is one sample.
_TEMPERATURES, _SAMPLES = "0.2,0.6,1.0,1.4", 10
#: Options of `couplet evaluate` that need not be written out.
_DEFAULTS = {
    "template": "plain",
    "samples": "1",
    "temperature": "0",
    "seeds": "0",
    "top-p": "0.95",
    "dtype": "float32",
    "decoder": "entropy",
    "max-tokens": "512",
}
_Options = dict[str, Any]


@dataclass(frozen=True)
class Missing:
    """Something that is not there: in words, and the command that supplies it, where one does."""

    what: str
    command: str = ""


def missing_rates(side: Side, topic: Topic) -> Iterator[Missing]:
    """Say what pass@k by temperature lacks."""
    measured = side.by_temperature(topic)
    ks = pass_ks(measured)
    if not ks:
        yield Missing(
            f"{side.label}: no sample has a verdict, so there is no pass@k; the sandbox failed on all of them, or "
            "their tests cannot be used.",
            _command(side.evaluation, topic, {}),
        )
    elif max(ks) == 1:
        yield Missing(
            f"{side.label}: one sample a task, so there is no pass@k beyond k = 1.",
            _command(side.evaluation, topic, {"samples": _SAMPLES} | _warm(measured)),
        )
    yield from missing_temperatures(side, topic)


def missing_temperatures(side: Side, topic: Topic) -> Iterator[Missing]:
    """Say that there is one temperature only."""
    measured = side.by_temperature(topic)
    if len(measured) == 1:
        yield Missing(
            f"{side.label}: one temperature, {measured[0].setting.temperature:g}, so there is none to compare it "
            "with.",
            _command(side.evaluation, topic, {"temperature": _TEMPERATURES}),
        )


def missing_ends(side: Side, topic: Topic) -> Iterator[Missing]:
    """Say that no text has ended, so that both orders are one."""
    measured = side.settings(topic)
    if not any(one.ended for one in measured):
        length = max(one.length for one in measured)
        yield Missing(
            f"{side.label}: no text ended before its {length} tokens, so the order of the text is that of all "
            "commits, and every program is cut off.",
            _command(side.evaluation, topic, {"max-tokens": 2 * length, "denoising-steps": None}),
        )


def missing_order(side: Side, topic: Topic) -> Iterator[Missing]:
    """Say why there is nothing to see in the order of a causal model."""
    if side.causal:
        yield Missing(
            f"{side.label}: is a causal model. It writes from left to right, so that AR-ness and Kendall's tau "
            "are 1 and first-passage is about a half by construction; adapt it to masked diffusion (couplet "
            "adapt) for an order of its own."
        )
    elif all(not values for one in side.settings(topic) for values in [one.by_task("executed_tau")]):
        yield Missing(f"{side.label}: every completion was committed in one step, so there is no order.")


def missing_confidence(side: Side, topic: Topic) -> Iterator[Missing]:
    """Say that confidences were not recorded, or cannot be."""
    if side.causal:
        yield Missing(
            f"{side.label}: a causal model sees no masked positions, so there is no confidence by position; its "
            "log-probabilities are not recorded."
        )
        return
    if side.first_steps(topic) is None:
        evaluation = side.evaluation
        # By torch, an evaluation that is complete gets them without a sample being made again.
        same = evaluation.settings.engine == "torch"
        command = _command(
            evaluation, topic, {"engine": "torch"}, into=str(evaluation.path) if same else "", flag="--confidence"
        )
        yield Missing(f"{side.label}: the confidences at the first steps were not recorded.", command)


def missing_steps(side: Side, topic: Topic) -> Iterator[Missing]:
    """Say which of L, L/2 and L/4 denoising steps are not there."""
    if side.causal:
        yield Missing(f"{side.label}: a causal model has a forward pass for each token, and no fewer.")
        return
    absent = absent_steps(side, topic)
    if absent:
        there = sorted({one.setting.steps or 0 for one in side.settings(topic)} | set(absent), reverse=True)
        yield Missing(
            f"{side.label}: no samples with {' or '.join(map(str, absent))} denoising steps. Of the tokens of a "
            "completion, L, this compares L, L/2 and L/4 steps.",
            _command(side.evaluation, topic, {"denoising-steps": ",".join(map(str, there))}),
        )


def _warm(measured: Sequence[Measured]) -> _Options:
    """Other temperatures than 0, at which all samples of a task are the same."""
    return {} if any(one.setting.temperature for one in measured) else {"temperature": _TEMPERATURES}


def _command(
    evaluation: RecordedEvaluation, topic: Topic, changes: _Options, *, into: str = "", flag: str = ""
) -> str:
    """Write the evaluation's own command with other options, ``into`` a folder of its own by default.

    An option of ``None`` is left out.
    """
    settings = evaluation.settings
    cells = [cell for cell in settings.cells if cell.template == topic.template]
    sampler = cells[0].sampler
    options: _Options = {
        "engine": settings.engine,
        "limit": evaluation.counts.get(topic.benchmark),
        "template": topic.template,
        "max-tokens": sampler.completion_length,
        "samples": settings.samples,
        "temperature": _listed(f"{cell.sampler.temperature:g}" for cell in cells),
        "seeds": _listed(str(cell.seed) for cell in cells),
        "top-p": sampler.top_p,
        "top-k": sampler.top_k or None,
        "dtype": settings.model.dtype,
    }
    if isinstance(sampler, Sampler):
        options |= {
            "decoder": sampler.decoder,
            "denoising-steps": _listed(
                str(cell.sampler.denoising_steps) for cell in cells if isinstance(cell.sampler, Sampler)
            ),
            "block-length": sampler.block_length or None,
            "threshold": sampler.threshold if sampler.decoder == "threshold" else None,
        }
    options |= {**changes, "output": into or f"{evaluation.path}-more"}
    given = {name: str(value) for name, value in options.items() if value is not None}
    words = [
        word for name, value in given.items() if _DEFAULTS.get(name) != value for word in (f"--{name}", value)
    ]
    source = evaluation.sources.get(topic.benchmark, topic.benchmark)
    return shlex.join(["couplet", "evaluate", settings.model.path, source, *words, *([flag] if flag else [])])


def _listed(values: Iterator[str]) -> str:
    """Join what is there, each once, by commas."""
    return ",".join(dict.fromkeys(values))
