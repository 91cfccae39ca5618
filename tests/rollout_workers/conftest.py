from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from common.models.prompts import PromptEncoder
from common.models.transformer import MaskedDiffusionModel
from common.records import PromptGroup, Sampler, Task, TestCase
from rollout_workers.denoise import Completion, DenoiseLoop, Request
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.fence import VersionFence
from rollout_workers.generator import DenoisingGenerator


class RecordingLoop(DenoiseLoop):
    """The real loop; ``batches`` lists the size of every batch it ran."""

    batches: list[int]

    def run(self, requests: Sequence[Request], sampler: Sampler) -> list[Completion]:
        self.batches.append(len(requests))
        return super().run(requests, sampler)


@pytest.fixture
def loop(make_model: Callable[..., MaskedDiffusionModel]) -> RecordingLoop:
    """A tiny random model with the vocabulary of the built-in tokenizer."""
    recording = RecordingLoop(TorchDenoiser(make_model(vocab_size=448)))
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
    return DenoisingGenerator("rollout-0", loop, encoder, fence, batch_rows=8, deadline=0.1)


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
