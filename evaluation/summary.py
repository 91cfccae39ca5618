"""The figures of a benchmark in a cell, from its samples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean

from common.ar_ness import decode_order, global_ar_ness, local_ar_ness, never_committed
from evaluation.pass_at_k import pass_at_k
from evaluation.samples import Sample

#: The k of local and global AR-ness@k that a summary has; samples.jsonl has what any other is computed from.
AR_NESS_KS = (1, 4)


@dataclass(frozen=True)
class Summary:
    """Figures of a benchmark in a cell. ``None`` where there is nothing to average.

    ``verdicts``: by the index of the task, whether each of its samples passed, of those with a verdict.
    ``excluded``: samples without one. ``ar_ness``: means over samples, of the text (``local@1``) and of all
    commits, those behind its end included (``executed_local@1``). ``tokens``: of all texts. ``forwards``: the
    forward passes that their completions took part in. ``ended``: share of the texts that ended by themselves.
    """

    verdicts: Mapping[int, tuple[bool, ...]]
    samples: int
    excluded: int
    ar_ness: dict[str, float]
    tokens: int
    forwards: int
    ended: float | None

    @property
    def tokens_per_forward(self) -> float | None:
        """Tokens of all texts over forward passes."""
        return self.tokens / self.forwards if self.forwards else None

    def pass_at(self, k: int) -> dict[int, float]:
        """Estimate pass@k of each task that has k samples with a verdict, by its index."""
        return {
            index: pass_at_k(len(passed), sum(passed), k)
            for index, passed in sorted(self.verdicts.items())
            if len(passed) >= k
        }


def summarise(samples: Iterable[Sample]) -> Summary:
    """Sum up samples of a benchmark in a cell, which are looked at once, one after the other."""
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
        verdicts={index: tuple(verdicts) for index, verdicts in passed.items()},
        samples=len(ended),
        excluded=excluded,
        ar_ness={name: fmean(values) for name, values in ar_ness.items()},
        tokens=tokens,
        forwards=forwards,
        ended=fmean(ended) if ended else None,
    )


def _ar_ness(sample: Sample) -> Iterator[tuple[str, float]]:
    """Compute the AR-ness of the text and of all commits; what was never committed stayed masked throughout."""
    for of, step_map in (("", sample.step_map), ("executed_", sample.executed_step_map)):
        order, never = decode_order(step_map), never_committed(step_map)
        for k in AR_NESS_KS:
            yield f"{of}local@{k}", local_ar_ness(order, k)
            yield f"{of}global@{k}", global_ar_ness(order, k, never)
