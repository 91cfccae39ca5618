"""How far an approximate sampler is from the exact one: the probe to run before opting in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from common.models.canvas_logprobs import TokenModel
from common.records import Completion, Sampler
from rollout_workers.engine import DenoisingEngine
from rollout_workers.replay import replay
from rollout_workers.requests import Request


@dataclass(frozen=True)
class Agreement:
    """Both samplers on the same prompts with the same random numbers.

    ``same_texts`` and ``same_tokens`` are shares of the exact sampler's texts and text tokens (place by place).
    ``logprob_gap`` is the mean absolute difference, in nats per token, between the log-probabilities that the
    approximate sampler recorded and the exact model's in the same canvases: what an importance weight would see.
    Forward passes are per completion; ``seconds`` are the whole batch's.
    """

    completions: int
    same_texts: float
    same_tokens: float
    logprob_gap: float
    exact_forwards: float
    approximate_forwards: float
    exact_seconds: float
    approximate_seconds: float


def exact_counterpart(sampler: Sampler) -> Sampler:
    """The sampler without its approximations: no cache, and one token at a time in place of a threshold."""
    changes: dict[str, object] = {
        "approximate_cache": "none",
        "approximate_locking": 0.0,
        "approximate_measured_share": 0.0,
    }
    if sampler.decoder == "threshold":
        changes |= {"decoder": "low_confidence", "denoising_steps": sampler.completion_length}
    return Sampler.model_validate(sampler.model_dump() | changes)


def measure_agreement(
    engine: DenoisingEngine, model: TokenModel, requests: Sequence[Request], sampler: Sampler
) -> Agreement:
    """Run ``requests`` through ``sampler`` and its exact counterpart. Raises RequestError as the engine does."""
    begun = time.perf_counter()
    exact = engine.run(requests, exact_counterpart(sampler))
    turned = time.perf_counter()
    approximate = engine.run(requests, sampler)
    ended = time.perf_counter()
    texts = [(_text(a), _text(b)) for a, b in zip(exact, approximate, strict=True)]
    tokens = [same for a, b in texts for same in _places(a, b)]
    gaps = [
        abs(recorded - exactly)
        for request, done in zip(requests, approximate, strict=True)
        for recorded, exactly in zip(
            done.model_logprobs[: done.text_tokens],
            replay(model, request.prompt_ids, done)[: done.text_tokens],
            strict=True,
        )
    ]
    count = len(requests)
    return Agreement(
        completions=count,
        same_texts=sum(a == b for a, b in texts) / count,
        same_tokens=sum(tokens) / len(tokens),
        logprob_gap=sum(gaps) / len(gaps),
        exact_forwards=sum(done.forwards for done in exact) / count,
        approximate_forwards=sum(done.forwards for done in approximate) / count,
        exact_seconds=turned - begun,
        approximate_seconds=ended - turned,
    )


def _text(done: Completion) -> tuple[int, ...]:
    return done.completion_ids[: done.text_tokens]


def _places(exact: tuple[int, ...], other: tuple[int, ...]) -> list[bool]:
    return [k < len(other) and other[k] == token for k, token in enumerate(exact)]
