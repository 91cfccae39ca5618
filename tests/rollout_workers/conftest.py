from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from torch import Tensor

from common.config import PromptSettings
from common.models.packing import Packing, Queries
from common.models.prompts import PromptEncoder
from common.models.transformer import MaskedDiffusionModel
from common.records import PromptGroup, RolloutGroup, Sampler, Task, TestCase
from common.weights.fence import VersionFence
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine, Finished
from rollout_workers.requests import Request
from rollout_workers.rollout_engine import RolloutEngine


class WatchedDenoiser(TorchDenoiser):
    """The real denoiser; ``before_pass`` is called before every forward pass."""

    before_pass: Callable[[], None] | None = None

    def hidden(self, ids: Tensor, packing: Packing, queries: Queries | None = None) -> Tensor:
        if self.before_pass is not None:
            self.before_pass()
        return super().hidden(ids, packing, queries)


class RecordingEngine(DenoisingEngine):
    """The real engine; ``batches`` lists how many requests each batch took."""

    batches: list[int]

    def add(self, requests: Sequence[Request], sampler: Sampler) -> None:
        if not self.has_unfinished:
            self.batches.append(0)
        self.batches[-1] += len(requests)
        super().add(requests, sampler)


class TirelessEngine(RecordingEngine):
    """The real engine, which in one step denoises until something is finished."""

    def step(self, version: int = 0) -> list[Finished]:
        finished: list[Finished] = []
        while self.has_unfinished and not finished:
            finished = super().step(version)
        return finished


@pytest.fixture
def denoiser(make_model: Callable[..., MaskedDiffusionModel]) -> WatchedDenoiser:
    """A tiny random model with the vocabulary of the built-in tokenizer."""
    return WatchedDenoiser(make_model(vocab_size=448))


@pytest.fixture
def denoising(denoiser: WatchedDenoiser, request: pytest.FixtureRequest) -> RecordingEngine:
    """A recording engine, or one of the class that a test asks for."""
    engine: RecordingEngine = getattr(request, "param", RecordingEngine)(denoiser, batch_tokens=150)
    engine.batches = []
    return engine


@pytest.fixture
def fence() -> VersionFence:
    fence = VersionFence()
    with fence.writing(5, 1.0):
        pass
    return fence


@pytest.fixture
def make_engine(denoising: RecordingEngine, fence: VersionFence) -> Callable[..., RolloutEngine]:
    def build(prompts: PromptSettings | None = None, **settings: Any) -> RolloutEngine:
        encoder = PromptEncoder("builtin:quickstart", prompts or PromptSettings())
        return RolloutEngine("rollout-0", denoising, encoder, fence, deadline=0.1, **settings)

    return build


@pytest.fixture
def engine(make_engine: Callable[..., RolloutEngine]) -> RolloutEngine:
    return make_engine()


#: For what must hold whether a step is one denoising step or many.
both_kinds_of_step = pytest.mark.parametrize("denoising", [RecordingEngine, TirelessEngine], indirect=True)


def drive(engine: RolloutEngine, *prompts: PromptGroup) -> list[RolloutGroup]:
    """Push prompts whenever the engine takes the next one; return the groups in the order they finished in."""
    waiting, groups = deque(prompts), []
    while waiting or engine.has_unfinished:
        while waiting and engine.has_room and engine.accepts(waiting[0]):
            engine.add(waiting.popleft())
        groups += engine.step()
    return groups


@pytest.fixture
def make_prompt() -> Callable[..., PromptGroup]:
    def build(index: int = 0, group_size: int = 2, temperature: float = 1.2, **fields: Any) -> PromptGroup:
        task = Task(
            id=str(index), prompt=f"def f{index}(x):\n", tests=(TestCase(call=f"f{index}(1)", expected="1"),)
        )
        setting = Sampler(temperature=temperature, top_p=0.95, denoising_steps=3, completion_length=6)
        known: dict[str, Any] = {"run_id": "r", "seed": 0, "min_version": 0, "task": task, "sampler": setting}
        return PromptGroup(index=index, group_size=group_size, **known | fields)

    return build
