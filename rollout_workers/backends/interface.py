"""What a rollout worker needs of an inference backend: an engine that denoises, and weights that are replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from torch import Tensor

from common.config import RolloutConfig
from common.likelihood.views import Text, Views
from common.records import Sampler
from common.weights.layout import Layout
from common.weights.location import Location
from common.weights.messages import Plan
from rollout_workers.engine import Finished
from rollout_workers.requests import Request


class Engine(Protocol):
    """Denoises requests of one sampler at a time: a batch runs until nothing is unfinished."""

    @property
    def has_unfinished(self) -> bool:
        """Whether requests are being denoised or wait."""

    @property
    def has_room(self) -> bool:
        """Whether a request added now would begin with the next step."""

    def accepts(self, sampler: Sampler) -> bool:
        """Tell whether requests of this sampler can be added now: not beside unfinished ones of another."""

    def check(self, prompt_ids: tuple[int, ...], sampler: Sampler) -> None:
        """Raise RequestError for a prompt that cannot be denoised."""

    def add(self, requests: Iterable[Request], sampler: Sampler) -> None:
        """Add requests that have passed :meth:`check`; those for which there is no room wait.

        Raises ValueError beside unfinished requests of another sampler, and PluginError for a decoder that cannot
        be loaded.
        """

    def step(self, version: int) -> list[Finished]:
        """Denoise every row further, with weights of ``version`` throughout; return what is finished.

        Makes at least one denoising step. Where weights are taken between steps (``rollout.update_between``) it
        makes exactly one, as weights may change after it. Otherwise it may go on until some row is finished, and
        no further: finished groups are published, and freed room is refilled, between calls. What it returns may
        be empty.
        """


class Backend(Protocol):
    """The model of a rollout worker, in one process or in several that each hold a part of it.

    The caller keeps what reads the weights (:meth:`Engine.step`, :meth:`estimate`) apart from what writes or
    compares them, by a :class:`~common.weights.fence.VersionFence`. Only :meth:`locations` and the entry of
    :meth:`receiving` are called while another thread steps.
    """

    @property
    def engine(self) -> Engine:
        """The engine on this model."""

    def prepare(
        self,
        rollout: RolloutConfig,
        completions: int | None = None,
        said: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Compile what pays for so many completions, None where that is not known; before the first request.

        It may take minutes, of which ``said`` hears first.
        """

    def locations(self) -> tuple[Location, ...]:
        """Return where the processes are that take part in a broadcast, each as a member of its own, by rank."""

    def adopt(self, layout: Layout, weights: Iterable[tuple[str, Tensor]]) -> bool:
        """Hold all weights, which lie so in memory that nobody writes to, where they are, until others come.

        Return False, with none taken, where the backend cannot. Raises WeightsError for weights of another model;
        then nothing has changed.
        """

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Overwrite all weights in place; each tensor is valid until the next.

        Raises WeightsError for weights of another model, when some may be overwritten already.
        """

    def release(self) -> None:
        """Give the memory of the weights, and of passes, back until the next :meth:`load` or :meth:`adopt`.

        Nothing steps meanwhile. Raises NotImplementedError where a backend cannot: ``rollout.placement: shared``
        is refused for it.
        """

    def receiving(
        self, plan: Plan, rank: int, deadline: float
    ) -> AbstractContextManager[tuple[int, Callable[[], None]]]:
        """Take part in one broadcast; this backend's processes are its members ``rank`` and following.

        Yields the version that is being sent and ``finish``, which receives all of it and overwrites the weights;
        call it once, inside the context. Raises BroadcastError after ``deadline`` seconds at the latest, or when
        another member fails, and WeightsError on damage.
        """

    def estimate(self, text: Text, views: Views) -> tuple[float, ...]:
        """Estimate the log-likelihoods of a completion's tokens [L] by these views of it.

        0 for tokens that are not valid. Takes one forward pass over all views.
        """

    def corrupt(self) -> None:
        """Overwrite every element of the weights with NaN: what is not loaded afterwards cannot be right."""

    def differing(self, weights: Iterable[tuple[str, Tensor]]) -> list[str]:
        """Name the tensors that are not held bit for bit, in the order of ``weights``.

        A value is compared as it is held: rounded to the type that the worker computes in, where it holds values
        of that type. A held parameter that is not among ``weights`` counts as one that differs.
        """

    def close(self) -> None:
        """End the processes that this backend has started, and free what they share; may be called twice."""
