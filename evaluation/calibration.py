"""What an approximation costs in nats and saves in operations: the table to pick its bound from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.models.config import ModelConfig
from common.records import Completion, Mismatch, Sampler
from evaluation.agreement import exact_counterpart
from evaluation.work import CountingDenoiser, Work
from rollout_workers.denoiser import Denoiser
from rollout_workers.engine import DenoisingEngine
from rollout_workers.kernels import Kernels
from rollout_workers.requests import Request


@dataclass(frozen=True)
class Calibrated:
    """One sampler beside its exact counterpart, on the same prompts with the same random numbers.

    ``kl`` and ``log_ratio`` are means over all committed tokens, in nats, as a rollout measures them
    (:class:`common.records.Mismatch`), ``same_tokens`` is a share of the exact sampler's tokens, place by place.
    """

    sampler: Sampler
    kl: float
    log_ratio: float
    same_texts: float
    same_tokens: float
    exact: Work
    work: Work

    def saving(self, config: ModelConfig) -> float:
        """Return how many times as many operations the exact sampler takes, on a model of this shape."""
        return self.exact.flops(config) / self.work.flops(config)


def calibrate(
    model: Denoiser, kernels: Kernels, batch_tokens: int, requests: Sequence[Request], samplers: Sequence[Sampler]
) -> list[Calibrated]:
    """Run ``requests`` through every sampler and once more with all steps measured; exact ones only once.

    Raises RequestError as the engine does.
    """

    def run(sampler: Sampler) -> tuple[list[Completion], Work]:
        counting = CountingDenoiser(model)
        return DenoisingEngine(counting, batch_tokens, kernels).run(requests, sampler), counting.work

    known: dict[str, tuple[list[Completion], Work]] = {}
    found = []
    for sampler in samplers:
        counterpart = exact_counterpart(sampler)
        name = counterpart.model_dump_json()
        if name not in known:
            known[name] = run(counterpart)
        exact, exact_work = known[name]
        # To measure changes nothing of what is written, but its exact passes are no part of the sampler's work.
        measured, work = run(_with(sampler, approximate_measured_share=0.0))
        if sampler.remembers:
            measured, _ = run(_with(sampler, approximate_measured_share=1.0))
        total = sum((done.mismatch for done in measured), Mismatch())
        places = [
            one == other
            for a, b in zip(exact, measured, strict=True)
            for one, other in zip(a.completion_ids[: a.text_tokens], b.completion_ids, strict=False)
        ]
        texts = [a.completion_ids == b.completion_ids for a, b in zip(exact, measured, strict=True)]
        found.append(
            Calibrated(
                sampler,
                kl=total.kl / max(1, total.tokens),
                log_ratio=total.log_ratio / max(1, total.tokens),
                same_texts=sum(texts) / len(texts),
                same_tokens=sum(places) / len(places),
                exact=exact_work,
                work=work,
            )
        )
    return found


def _with(sampler: Sampler, **fields: Any) -> Sampler:
    return Sampler.model_validate(sampler.model_dump() | fields)
