"""The processes of :mod:`benchmarks.gpu.rollouts`: one that sends weights, and one for each backend."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from benchmarks.backends import complete
from benchmarks.divergence import Parity, compare
from benchmarks.measure import available_bytes
from benchmarks.weights import SendingRank
from common.config import Config
from common.heartbeat import Heartbeat
from common.models import runtime
from common.models.loading import load_model
from common.records import Completion, Sampler
from common.weights.fence import VersionFence
from common.weights.loader import WeightsLoader
from common.weights.location import Location
from common.weights.messages import Plan, WeightsUpdate
from learner.mismatch import mismatch
from rollout_workers.backends.interface import Backend
from rollout_workers.backends.registry import build_backend
from rollout_workers.backends.torch_backend import TorchBackend
from rollout_workers.engine import build_engine
from rollout_workers.replay import replay
from rollout_workers.requests import Request


class ModelSender(SendingRank):
    """The learner's only rank, without a learner: it holds a model and publishes it."""

    def __init__(self, config: Config) -> None:
        parameters = dict(load_model(config.model.path, runtime.configure(config.model)).named_parameters())
        dtype, bucket = runtime.compute_dtype(config.model), config.learner.bucket_mb << 20
        super().__init__(parameters, dtype, bucket, config.deadlines.weights_seconds)

    @torch.no_grad()
    def change(self) -> None:
        """Change every weight by about a tenth."""
        self._version += 1
        for parameter in self._parameters.values():
            numbers = torch.Generator(parameter.device).manual_seed(self._version)
            parameter.mul_(1 + 0.1 * torch.empty_like(parameter).normal_(generator=numbers))


@dataclass(frozen=True)
class Decode:
    """What a backend wrote, and in how many seconds."""

    completions: tuple[Completion, ...]
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        return sum(completion.text_tokens for completion in self.completions) / self.seconds


class EngineActor:
    """A rollout worker's backend and its weights, without the streams."""

    def __init__(self, config: Config) -> None:
        self._on_gpu = torch.cuda.is_available()
        self._free = self._available()
        begun = time.perf_counter()
        self._backend = self._build(config)
        self._start_seconds = time.perf_counter() - begun
        deadline = config.deadlines.weights_seconds
        self._loader = WeightsLoader(self._backend, VersionFence(), deadline, deadline, Heartbeat(deadline))

    def start_seconds(self) -> float:
        return self._start_seconds

    def taken_bytes(self) -> int:
        """Memory of all devices that is taken now and was not before the start, by whatever process."""
        return self._free - self._available()

    def locations(self) -> tuple[Location, ...]:
        return self._backend.locations()

    def load_weights(self, update: WeightsUpdate) -> int:
        return self._loader.from_store(update)

    def receive_weights(self, plan: Plan, first_rank: int, version: int) -> int:
        return self._loader.by_broadcast(plan, first_rank)

    def decode(self, requests: Sequence[Request], sampler: Sampler) -> Decode:
        begun = time.perf_counter()
        completions = tuple(complete(self._backend.engine, requests, sampler))
        return Decode(completions, time.perf_counter() - begun)

    def close(self) -> None:
        self._backend.close()

    def _build(self, config: Config) -> Backend:
        backend = build_backend(config)
        backend.prepare(config.rollout)
        return backend

    def _available(self) -> int:
        if not self._on_gpu:
            return available_bytes(torch.device("cpu")) or 0
        return sum(torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count()))


class ReferenceActor(EngineActor):
    """The torch backend, whose model also judges what the other has written."""

    def _build(self, config: Config) -> Backend:
        self._exact = runtime.compute_dtype(config.model) == torch.float32
        self._denoiser, engine = build_engine(config)
        return TorchBackend(self._denoiser, engine)

    def compare(self, requests: Sequence[Request], sampler: Sampler, ones: Decode, others: Decode) -> Parity:
        """Say where completions of two engines part, and in fp32 how near the ties were."""
        return compare(
            self._denoiser, requests, sampler, ones.completions, others.completions, explain=self._exact
        )

    def mismatch(self, requests: Sequence[Request], done: Decode) -> dict[str, float]:
        """Compare the log-probabilities of tokens as they were recorded with those that this model gives them."""
        pairs = list(zip(requests, done.completions, strict=True))
        scored = [replay(self._denoiser, request.prompt_ids, each)[: each.text_tokens] for request, each in pairs]
        recorded = [each.model_logprobs[: each.text_tokens] for each in done.completions]
        return mismatch(_joined(recorded), _joined(scored))


def _joined(parts: Sequence[Sequence[float]]) -> Any:
    return torch.tensor(list(chain.from_iterable(parts)), dtype=torch.float64).numpy()
