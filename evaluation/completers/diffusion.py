"""Completions of a masked-diffusion model, by the backends that training samples with."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, pvariance

from pydantic import ValidationError

from common.config import Config, ConfigError
from common.models.families import ModelError
from common.records import Sampler
from evaluation.completers.interface import Batch, Completed, Loading, Steps, TokenConfidence
from evaluation.settings import AnySampler, EvaluationSettings
from rollout_workers.backends.registry import build_backend
from rollout_workers.engine import Finished
from rollout_workers.requests import Request

#: What a completion records as the version of the weights, which do not change here.
_VERSION = 0
_DECIMALS = 6


class DiffusionCompleter:
    """Denoises as rollout workers do.

    Raises ModelError, also for logits that are not finite, and PluginError for a decoder that cannot be loaded.
    """

    def __init__(self, settings: EvaluationSettings, loading: Loading) -> None:
        config = rollout_config(settings, loading)
        self._path = settings.model.path
        self._batch_tokens = config.rollout.batch_tokens
        self._backend = build_backend(config, loading.check)
        self._backend.prepare(config.rollout)

    def batches(self, requests: Sequence[Request], sampler: AnySampler) -> list[Batch]:
        """Fill each batch with as many tokens as the engine denoises together."""
        batches: list[list[Request]] = []
        room = 0
        for request in requests:
            tokens = len(request.prompt_ids) + sampler.completion_length
            if tokens > room:
                batches.append([])
                room = self._batch_tokens
            batches[-1].append(request)
            room -= tokens
        return list(batches)

    def complete(self, batches: Sequence[Batch], sampler: AnySampler) -> Steps:
        assert isinstance(sampler, Sampler)
        engine = self._backend.engine
        for batch in batches:
            engine.add(batch, sampler)
            while engine.has_unfinished:
                try:
                    finished = engine.step(_VERSION)
                except FloatingPointError as error:
                    raise ModelError(f"{self._path}: {error}") from error
                yield [_completed(done) for done in finished]

    def close(self) -> None:
        self._backend.close()


def _completed(done: Finished) -> Completed:
    written = done.completion
    return Completed(
        request=done.request,
        token_ids=written.completion_ids[: written.text_tokens],
        ended=written.end < len(written.completion_ids),
        executed_step_map=written.executed_step_map,
        forwards=written.forwards,
        confidence=_confidence(written.model_logprobs[: written.text_tokens]),
    )


def _confidence(logprobs: Sequence[float]) -> TokenConfidence:
    mean = fmean(logprobs)
    return TokenConfidence(round(mean, _DECIMALS), round(pvariance(logprobs, mean), _DECIMALS))


def rollout_config(settings: EvaluationSettings, loading: Loading) -> Config:
    """Return the configuration of a run that would sample as the first cell. Raises ConfigError."""
    rollout = settings.cells[0].sampler.model_dump()
    if settings.engine == "vllm":
        rollout["backend"] = {"kind": "vllm", "tensor_parallel_size": settings.tensor_parallel_size}
    try:
        return Config.model_validate(
            {
                "model": settings.model,
                "data": {"source": "synthetic"},
                "rollout": rollout,
                "deadlines": {"start_seconds": loading.start_seconds},
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"--engine {settings.engine}: {place}: {first['msg']}") from error
