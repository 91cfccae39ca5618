"""The figures of a benchmark, from its samples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from common.ar_ness import decode_order, global_ar_ness, local_ar_ness, never_committed
from evaluation.pass_at_k import pass_at_k
from evaluation.samples import Sample

#: The k of local and global AR-ness@k that a summary has; samples.jsonl has what any other is computed from.
AR_NESS_KS = (1, 4)


@dataclass(frozen=True)
class Summary:
    """Figures of a benchmark. ``None`` where there is nothing to average.

    ``pass_at``: by k, the mean over the tasks that have k samples with a verdict at least. ``excluded``: samples
    without a verdict. ``ar_ness``: means over samples, of the text (``local@1``) and of all commits, those behind
    its end included (``executed_local@1``). ``tokens_per_forward``: tokens of all texts over the forward passes
    that their completions took part in. ``ended``: share of the texts that ended by themselves. ``seconds``: of
    completing all tasks, while others are scored.
    """

    benchmark: str
    tasks: int
    samples: int
    excluded: int
    pass_at: dict[int, float | None]
    ar_ness: dict[str, float]
    tokens: int
    forwards: int
    tokens_per_forward: float | None
    ended: float | None
    seconds: float | None


def summarise(benchmark: str, samples: Iterable[Sample], ks: Sequence[int], seconds: float | None) -> Summary:
    """Sum up the samples of a benchmark, which are looked at once, one after the other."""
    passed: dict[int, list[bool]] = defaultdict(list)
    ar_ness: dict[str, list[float]] = defaultdict(list)
    ended: list[bool] = []
    excluded = tokens = forwards = 0
    for one in samples:
        verdicts = passed[one.index]
        if not one.excluded:
            verdicts.append(one.passed)
        excluded += one.excluded
        tokens += len(one.token_ids)
        forwards += one.forwards
        ended.append(one.ended)
        for name, value in _ar_ness(one):
            ar_ness[name].append(value)
    return Summary(
        benchmark=benchmark,
        tasks=len(passed),
        samples=len(ended),
        excluded=excluded,
        pass_at={k: _pass_at(passed.values(), k) for k in ks},
        ar_ness={name: fmean(values) for name, values in ar_ness.items()},
        tokens=tokens,
        forwards=forwards,
        tokens_per_forward=tokens / forwards if forwards else None,
        ended=fmean(ended) if ended else None,
        seconds=seconds,
    )


def _pass_at(passed: Iterable[Sequence[bool]], k: int) -> float | None:
    found = [pass_at_k(len(verdicts), sum(verdicts), k) for verdicts in passed if len(verdicts) >= k]
    return fmean(found) if found else None


def _ar_ness(sample: Sample) -> Iterator[tuple[str, float]]:
    """Compute the AR-ness of the text and of all commits; what was never committed stayed masked throughout."""
    for of, step_map in (("", sample.step_map), ("executed_", sample.executed_step_map)):
        order, never = decode_order(step_map), never_committed(step_map)
        for k in AR_NESS_KS:
            yield f"{of}local@{k}", local_ar_ness(order, k)
            yield f"{of}global@{k}", global_ar_ness(order, k, never)
