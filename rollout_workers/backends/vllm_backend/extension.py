"""What our side runs in each of vLLM's worker processes: the same denoising engine as everywhere, in lock-step.

Every tensor-parallel rank makes the same decisions, as they follow from numbers that all ranks have and from the
counter-based randomness of the requests. Rank 0 answers; the others answer with a digest that must be the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import xxhash

from common.likelihood.views import Text, Views
from common.models.config import ModelConfig
from common.records import Sampler
from common.weights.broadcast import Receiver
from common.weights.buckets import read_buckets
from common.weights.location import Location, own_gpu
from common.weights.messages import BroadcastError, Plan
from rollout_workers.backends.vllm_backend.denoiser import VllmDenoiser
from rollout_workers.backends.vllm_backend.held_weights import HeldWeights
from rollout_workers.backends.vllm_backend.names import get_tp_group
from rollout_workers.backends.vllm_backend.remote_engine import Progress
from rollout_workers.backends.vllm_backend.shared_files import unlink_queues, unlink_shared_memory
from rollout_workers.backends.vllm_backend.transfer import Segment
from rollout_workers.engine import DenoisingEngine, Finished
from rollout_workers.kernels import Kernels
from rollout_workers.requests import Request
from rollout_workers.token_estimates import token_estimates

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What a worker process needs to know beside vLLM's own configuration."""

    batch_tokens: int
    compile: Literal["auto", "never"]


@dataclass(frozen=True)
class Failure:
    """What a process answers that could not do what it was asked."""

    kind: str
    text: str


class DenoisingExtension:
    """Methods that vLLM adds to its worker; the backend calls them in all processes at once, by :meth:`ask`."""

    model_runner: Any
    vllm_config: Any
    device: torch.device
    rank: int
    distributed_init_method: str
    _weight_update_active: bool
    start_weight_update: Callable[[], None]
    update_weights: Callable[[dict[str, Any]], None]
    finish_weight_update: Callable[[], None]

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of the worker, and return what it returns, or a :class:`Failure`.

        An exception would leave the answers of the other ranks unread, to be taken for those of the next call.
        """
        try:
            return getattr(self, method)(*arguments)
        except Exception as error:  # noqa: BLE001
            _LOG.exception("%s failed", method)
            return Failure(type(error).__name__, str(error))

    def begin(self, settings: Settings) -> None:
        """Make the engine. Called once, before anything else."""
        unlink_shared_memory(self.distributed_init_method)
        unlink_queues()
        config = ModelConfig.from_folder(Path(self.vllm_config.model_config.model))
        self._denoiser = VllmDenoiser(self.model_runner.get_model(), config, self.vllm_config, self.device)
        kernels = Kernels.choose(self._denoiser.vocabulary, self.device, settings.compile)
        self._engine = DenoisingEngine(self._denoiser, settings.batch_tokens, kernels)
        self._receiver: Receiver | None = None
        self._open = ExitStack()

    def advance(self, requests: list[Request], sampler: Sampler, version: int, most: int) -> Progress:
        """Add requests, and denoise until something is finished, at most ``most`` steps."""
        if requests:
            self._engine.add(requests, sampler)
        finished: list[Finished] = []
        for _ in range(most):
            finished = self._engine.step(version)
            if finished or not self._engine.has_unfinished:
                break
        digest = xxhash.xxh3_64()
        for done in finished:
            digest.update(str((done.request.key, done.completion.completion_ids)).encode())
        answers = tuple(finished) if self.rank == 0 else ()
        return Progress(answers, digest.intdigest(), self._engine.has_unfinished, self._engine.room)

    def estimate(self, text: Text, views: Views) -> tuple[float, ...]:
        """Estimate the log-likelihoods of a completion's tokens [L] by these views of it."""
        return token_estimates(self._denoiser, text, views)

    def gpu(self) -> str:
        """Return the id of this process's GPU, or nothing."""
        return own_gpu()

    def take_segment(self, segment: Segment) -> None:
        """Load a part of an update that has been started."""
        self.update_weights({"weights": segment.read()})

    def abandon_update(self) -> None:
        """Forget an update that has been started, so that another can be."""
        self._weight_update_active = False

    def begin_receiving(self, locations: Sequence[Location], plan: Plan, rank: int, deadline: float) -> int:
        """Join a broadcast as ``rank`` plus the number of this process; return the version that is to come."""
        if self._receiver is None:
            self._receiver = Receiver(locations[self.rank])
        receiving = self._receiver.receiving(plan, rank + self.rank, deadline)
        manifest, buckets = self._open.enter_context(receiving)
        self._coming = ((name, tensor.clone()) for name, tensor in read_buckets(manifest, buckets))
        return manifest.version

    def finish_receiving(self) -> None:
        """Load the broadcast that has begun."""
        with self._open, ExitStack() as failed:
            failed.callback(self.abandon_update)
            self.start_weight_update()
            self.update_weights({"weights": self._coming})
            self.finish_weight_update()
            failed.pop_all()

    def give_up_receiving(self) -> None:
        """Leave the broadcast that has begun, and let its other members know."""
        with suppress(BroadcastError), self._open:
            raise BroadcastError("gave up")

    def differing(self, segment: Segment) -> list[str]:
        """Name the parameters of a segment that are not held bit for bit."""
        group = get_tp_group()
        model = self.model_runner.get_model()
        held = HeldWeights(model, self._denoiser.config, group.rank_in_group, group.world_size)
        return held.differing(segment.read())
