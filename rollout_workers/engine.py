"""The denoising engine: requests in by ``add``, completions out by ``step``.

Rows are denoised together up to a budget of tokens. A row whose text is complete up to its end leaves the batch,
and a waiting one takes its place. What one step does is in :mod:`rollout_workers.denoise`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from common.config import Config
from common.models import runtime
from common.models.loading import load_model
from common.records import Completion, NoiseKey, Sampler
from rollout_workers.batch import Batch
from rollout_workers.denoise import DenoisingStep
from rollout_workers.denoiser import Denoiser, TorchDenoiser
from rollout_workers.kernels import Kernels
from rollout_workers.requests import Request, check_prompt

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finished:
    """A request with its completion; ``seconds`` is its share of the steps that it took part in."""

    request: Request
    completion: Completion
    seconds: float


class DenoisingEngine:
    """Denoises requests of one sampler at a time, about ``batch_tokens`` tokens (prompts included) together."""

    def __init__(
        self,
        denoiser: Denoiser,
        batch_tokens: int = 16384,
        kernels: Kernels | None = None,
        deferred: bool | None = None,
    ) -> None:
        """Make an idle engine.

        ``deferred``, by default on a GPU: learn one step late what is finished, so that no step is waited for.
        """
        self._denoiser = denoiser
        self._deferred = denoiser.device.type == "cuda" if deferred is None else deferred
        self._batch_tokens = batch_tokens
        self._kernels = kernels or Kernels()
        self._batch: Batch | None = None
        self._make_step: DenoisingStep

    def use(self, kernels: Kernels) -> None:
        """Go over the vocabulary with these kernels. Raises ValueError beside unfinished requests."""
        if self._batch is not None:
            raise ValueError("requests are unfinished; step until they are done")
        self._kernels = kernels

    @property
    def has_unfinished(self) -> bool:
        """Whether requests are being denoised or wait."""
        return self._batch is not None

    @property
    def has_room(self) -> bool:
        """Whether a request added now would begin with the next step."""
        return self.room > 0

    @property
    def room(self) -> int:
        """Tokens, prompts included, of requests that would begin with the next step."""
        return self._batch_tokens if self._batch is None else self._batch.room

    def accepts(self, sampler: Sampler) -> bool:
        """Tell whether requests of this sampler can be added now: not beside unfinished ones of another."""
        return self._batch is None or self._batch.sampler == sampler

    def check(self, prompt_ids: tuple[int, ...], sampler: Sampler) -> None:
        """Raise RequestError for a prompt that cannot be denoised."""
        check_prompt(prompt_ids, sampler, self._denoiser.config)

    def add(self, requests: Iterable[Request], sampler: Sampler) -> None:
        """Add requests; those for which there is no room wait.

        They must have passed :meth:`check`. Raises ValueError beside unfinished requests of another sampler, and
        PluginError for a decoder that cannot be loaded.
        """
        if not self.accepts(sampler):
            raise ValueError("requests of another sampler are unfinished; step until they are done")
        if self._batch is None:
            self._make_step = DenoisingStep(self._denoiser, sampler, self._kernels)
            denoiser = self._denoiser
            self._batch = Batch(sampler, denoiser.config, denoiser.device, self._batch_tokens, self._deferred)
        self._batch.add(requests)
        self._forget_empty_batch()

    def step(self, version: int = 0) -> list[Finished]:
        """Denoise every row by one step, with weights of ``version``; return what is finished."""
        if self._batch is None:
            return []
        started = time.perf_counter()
        self._make_step(self._batch, version)
        self._batch.advance(version, time.perf_counter() - started)
        finished = [Finished(row.request, completion, row.seconds) for row, completion in self._batch.retire()]
        self._batch.admit()
        self._forget_empty_batch()
        return finished

    def run(self, requests: Sequence[Request], sampler: Sampler) -> list[Completion]:
        """Denoise requests to their end; return the completions in the order of the requests.

        Raises RequestError before anything is denoised.
        """
        for request in requests:
            self.check(request.prompt_ids, sampler)
        self.add(requests, sampler)
        found: dict[NoiseKey, Completion] = {}
        while self.has_unfinished:
            found |= {done.request.key: done.completion for done in self.step()}
        return [found[request.key] for request in requests]

    def _forget_empty_batch(self) -> None:
        if self._batch is not None and not self._batch.rows:
            self._batch = None


def load_denoiser(config: Config) -> TorchDenoiser:
    """Load the model onto this process's device. Raises ModelError."""
    model = load_model(config.model.path, runtime.configure(config.model))
    return TorchDenoiser(model, runtime.compute_dtype(config.model))


def build_denoiser(config: Config) -> tuple[TorchDenoiser, Kernels]:
    """Load the model onto this process's device, and choose its kernels. Raises ModelError."""
    denoiser = load_denoiser(config)
    return denoiser, compiled_where_it_pays(denoiser, config.rollout.compile)


def compiled_where_it_pays(
    denoiser: TorchDenoiser,
    mode: Literal["auto", "never"],
    logits: int | None = None,
    said: Callable[[str], None] = _LOG.info,
) -> Kernels:
    """Choose kernels, as :meth:`Kernels.choose` does; on a GPU, have the passes of bf16 layers compiled, too."""
    kernels = Kernels.choose(denoiser.vocabulary, denoiser.device, mode, logits, said)
    if kernels.compiled and denoiser.device.type == "cuda":
        denoiser.compile()
    return kernels


def build_engine(config: Config) -> tuple[TorchDenoiser, DenoisingEngine]:
    """Load the model onto this process's device and make an engine around it. Raises ModelError."""
    denoiser, kernels = build_denoiser(config)
    return denoiser, DenoisingEngine(denoiser, config.rollout.batch_tokens, kernels)
