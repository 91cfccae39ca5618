from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from common.models.prompts import PromptEncoder
from common.models.transformer import MaskedDiffusionModel
from common.records import PromptGroup, RolloutGroup, Sampler, Task, TestCase
from common.weights.fence import VersionFence
from rollout_workers.denoise import DenoiseLoop
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.generator import DenoisingGenerator
from rollout_workers.requests import Completion, Request


class RecordingLoop(DenoiseLoop):
    """The real loop; ``batches`` lists how many completions each batch gave."""

    batches: list[int]

    def stream(self, *arguments: Any) -> Iterator[tuple[Request, Completion]]:
        self.batches.append(0)
        for done in super().stream(*arguments):
            self.batches[-1] += 1
            yield done


class Waiting:
    """Prompt groups that wait in memory."""

    def __init__(self, *prompts: PromptGroup) -> None:
        self._prompts = list(prompts)

    def peek(self) -> PromptGroup | None:
        return self._prompts[0] if self._prompts else None

    def take(self) -> PromptGroup:
        return self._prompts.pop(0)

    def add(self, prompt: PromptGroup) -> None:
        self._prompts.append(prompt)


@pytest.fixture
def loop(make_model: Callable[..., MaskedDiffusionModel]) -> RecordingLoop:
    """A tiny random model with the vocabulary of the built-in tokenizer."""
    recording = RecordingLoop(TorchDenoiser(make_model(vocab_size=448)), batch_tokens=150)
    recording.batches = []
    return recording


@pytest.fixture
def fence() -> VersionFence:
    fence = VersionFence()
    with fence.writing(5, 1.0):
        pass
    return fence


@pytest.fixture
def generator(loop: RecordingLoop, fence: VersionFence) -> DenoisingGenerator:
    encoder = PromptEncoder("builtin:quickstart", chat_template=False)
    return DenoisingGenerator("rollout-0", loop, encoder, fence, deadline=0.1)


@pytest.fixture
def generate_all(generator: DenoisingGenerator) -> Callable[..., list[RolloutGroup]]:
    """All groups of the prompts, in the order in which they finished."""

    def run(*prompts: PromptGroup) -> list[RolloutGroup]:
        waiting, groups = Waiting(*prompts), []
        while waiting.peek() is not None:
            groups += generator.generate(waiting)
        return groups

    return run


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
