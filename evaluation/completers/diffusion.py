"""Completions of a masked-diffusion model, by the backends that training samples with."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from common.config import Config, ConfigError
from common.records import Sampler
from evaluation.completers.interface import Completed, Steps
from evaluation.settings import EvaluationSettings
from rollout_workers.backends.registry import build_backend
from rollout_workers.engine import Finished
from rollout_workers.requests import Request

#: What a completion records as the version of the weights, which do not change here.
_VERSION = 0


class DiffusionCompleter:
    """Denoises by one sampler. Raises ModelError, and PluginError for a decoder that cannot be loaded."""

    def __init__(self, settings: EvaluationSettings, sampler: Sampler) -> None:
        self._backend = build_backend(_rollout_config(settings, sampler))
        self._sampler = sampler

    def complete(self, requests: Sequence[Request]) -> Steps:
        engine = self._backend.engine
        engine.add(requests, self._sampler)
        while engine.has_unfinished:
            yield [_completed(done) for done in engine.step(_VERSION)]

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
    )


def _rollout_config(settings: EvaluationSettings, sampler: Sampler) -> Config:
    """Return the configuration of a run whose rollout workers would sample so. Raises ConfigError."""
    rollout = sampler.model_dump()
    if settings.engine == "vllm":
        rollout["backend"] = {"kind": "vllm", "tensor_parallel_size": settings.tensor_parallel_size}
    try:
        return Config.model_validate(
            {"model": settings.model, "data": {"source": "synthetic"}, "rollout": rollout}
        )
    except ValidationError as error:
        raise ConfigError(f"--engine {settings.engine}: {error.errors()[0]['msg']}") from error
