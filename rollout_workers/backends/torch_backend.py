"""The backend on plain torch: the learner's own model code, in the worker's process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from torch import Tensor

from common.config import Config, RolloutConfig
from common.likelihood.views import Text, Views
from common.weights.layout import Layout
from common.weights.loader import LocalWeights
from common.weights.location import Location
from common.weights.messages import Plan
from rollout_workers.compilation import scored_logits
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine, compiled_where_it_pays, load_denoiser
from rollout_workers.token_estimates import token_estimates


class TorchBackend:
    """A denoiser and its engine; see :class:`~rollout_workers.backends.interface.Backend`."""

    def __init__(self, denoiser: TorchDenoiser, engine: DenoisingEngine) -> None:
        self.engine = engine
        self._denoiser = denoiser
        self._weights = LocalWeights(denoiser)

    @classmethod
    def build(cls, config: Config) -> TorchBackend:
        """Load the model of ``config``. Raises ModelError."""
        denoiser = load_denoiser(config)
        return cls(denoiser, DenoisingEngine(denoiser, config.rollout.batch_tokens))

    def prepare(
        self,
        rollout: RolloutConfig,
        completions: int | None = None,
        said: Callable[[str], None] = lambda line: None,
    ) -> None:
        vocabulary = self._denoiser.vocabulary
        logits = None if completions is None else scored_logits(rollout.sampler(), vocabulary.size, completions)
        self.engine.use(compiled_where_it_pays(self._denoiser, rollout.compile, logits, said))

    def locations(self) -> tuple[Location, ...]:
        return (Location.here(),)

    def adopt(self, layout: Layout, weights: Iterable[tuple[str, Tensor]]) -> bool:
        return self._weights.adopt(layout, weights)

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        self._weights.load(weights)

    def release(self) -> None:
        self._denoiser.release()

    def receiving(
        self, plan: Plan, rank: int, deadline: float
    ) -> AbstractContextManager[tuple[int, Callable[[], None]]]:
        return self._weights.receiving(plan, rank, deadline)

    def estimate(self, text: Text, views: Views) -> tuple[float, ...]:
        return token_estimates(self._denoiser, text, views)

    def corrupt(self) -> None:
        self._weights.corrupt()

    def differing(self, weights: Iterable[tuple[str, Tensor]]) -> list[str]:
        return self._weights.differing(weights)

    def close(self) -> None:
        """Do nothing: there are no other processes."""
