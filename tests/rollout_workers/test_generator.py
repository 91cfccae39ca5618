from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from common.likelihood.views import SampleKey, Text
from common.models.loading import load_tokenizer, tokenizer_hash
from common.models.prompts import PromptEncoder
from common.records import PromptGroup, Purpose, RolloutGroup
from common.weights.fence import FenceTimeoutError, VersionFence
from rollout_workers.generator import DenoisingGenerator
from rollout_workers.requests import RequestError
from tests.rollout_workers.conftest import Waiting

MakePrompt = Callable[..., PromptGroup]
GenerateAll = Callable[..., list[RolloutGroup]]


def completions(group: RolloutGroup) -> list[tuple[Any, ...]]:
    return [(rollout.completion_ids, rollout.step_map) for rollout in group.rollouts]


def test_groups_join_one_batch_beyond_its_token_budget(
    generate_all: GenerateAll, loop: Any, make_prompt: MakePrompt
) -> None:
    """Seven groups of three are far more than 150 tokens: rows wait, and groups come as they finish."""
    prompts = [make_prompt(i, 3) for i in range(7)]
    groups = generate_all(*prompts)
    assert loop.batches == [21]
    assert sorted(group.prompt.index for group in groups) == list(range(7))
    assert [len(group.rollouts) for group in groups] == [3] * 7


def test_groups_of_different_samplers_run_apart(
    generate_all: GenerateAll, loop: Any, make_prompt: MakePrompt
) -> None:
    prompts = [make_prompt(i, 1, temperature) for i, temperature in enumerate([1.2, 1.2, 0.0, 1.2])]
    groups = generate_all(*prompts)
    assert loop.batches == [2, 1, 1]
    assert sorted(group.prompt.index for group in groups) == [0, 1, 2, 3]


def test_nothing_to_generate(generator: DenoisingGenerator, loop: Any) -> None:
    assert list(generator.generate(Waiting())) == []
    assert loop.batches == []


def test_a_rollout_group_says_all_about_its_origin(generate_all: GenerateAll, make_prompt: MakePrompt) -> None:
    prompt = make_prompt(3, 4)
    (group,) = generate_all(prompt)
    tokenizer = load_tokenizer("builtin:quickstart")
    assert (group.prompt, group.version, group.worker) == (prompt, 5, "rollout-0")
    assert group.prompt_ids == tuple(tokenizer(prompt.task.prompt)["input_ids"])
    assert group.tokenizer_hash == tokenizer_hash("builtin:quickstart")
    assert group.seconds > 0
    for sample, rollout in enumerate(group.rollouts):
        assert rollout.sample == sample
        assert rollout.versions == (5, 5)
        assert 1 <= rollout.forwards <= 3
        lengths = [len(row) for row in (rollout.completion_ids, rollout.step_map, rollout.logprobs)]
        assert lengths == [6, 6, 6]
        assert rollout.text == tokenizer.decode(rollout.completion_ids[: rollout.end], skip_special_tokens=True)
    assert RolloutGroup.decode(group.encode()) == group


def test_a_group_is_the_same_alone_or_in_company(generate_all: GenerateAll, make_prompt: MakePrompt) -> None:
    prompts = [make_prompt(i, 3) for i in range(4)]
    together = sorted(generate_all(*prompts), key=lambda group: group.prompt.index)
    alone = [generate_all(prompt)[0] for prompt in prompts]
    assert list(map(completions, together)) == list(map(completions, alone))


def test_samples_groups_purposes_rounds_and_seeds_have_noise_of_their_own(
    generate_all: GenerateAll, make_prompt: MakePrompt
) -> None:
    task = make_prompt(0).task
    variants: list[dict[str, Any]] = [
        {},
        {"seed": 1},
        {"index": 1},
        {"purpose": Purpose.EVALUATION},
        {"purpose": Purpose.EVALUATION, "evaluation": 1},
    ]
    groups = generate_all(*(make_prompt(**{"task": task} | variant) for variant in variants))
    drawn = [completion for group in groups for completion in completions(group)]
    assert len(set(drawn)) == 2 * len(variants)


def test_a_prompt_waits_for_the_version_it_asks_for(
    generate_all: GenerateAll, fence: VersionFence, loop: Any, make_prompt: MakePrompt
) -> None:
    """It does not join the batch that runs on older weights, and does not spoil it."""
    with pytest.raises(FenceTimeoutError, match="version 6; holding 5"):
        generate_all(make_prompt(0, min_version=5), make_prompt(1, min_version=6))
    assert loop.batches == [2]
    with fence.writing(6, 1.0):
        pass
    groups = generate_all(make_prompt(0, min_version=5), make_prompt(1, min_version=6))
    assert [group.version for group in groups] == [6, 6]


class Endless(Waiting):
    """Always has a prompt; ``after`` takes happened, ``then`` is called once."""

    def __init__(self, make_prompt: MakePrompt, after: int, then: Callable[[], None]) -> None:
        super().__init__()
        self._make, self._after, self._then, self.taken = make_prompt, after, then, 0

    def peek(self) -> PromptGroup | None:
        return self._make(self.taken, 2)

    def take(self) -> PromptGroup:
        self.taken += 1
        if self.taken == self._after:
            self._then()
        return self._make(self.taken - 1, 2)


def start_writer(fence: VersionFence, version: int) -> threading.Thread:
    """A thread that wants to load weights; returns once it waits for the fence."""

    def write() -> None:
        with fence.writing(version, 30.0):
            pass

    writer = threading.Thread(target=write)
    writer.start()
    while not fence.writer_waiting:
        writer.join(0.001)
        assert writer.is_alive()
    return writer


def test_waiting_weights_end_a_batch_that_would_go_on_for_ever(
    generator: DenoisingGenerator, fence: VersionFence, make_prompt: MakePrompt
) -> None:
    writers: list[threading.Thread] = []
    prompts = Endless(make_prompt, 5, lambda: writers.append(start_writer(fence, 6)))
    groups = list(generator.generate(prompts))
    writers[0].join(30.0)
    assert sorted(group.prompt.index for group in groups) == [0, 1, 2, 3, 4]
    assert {rollout.versions for group in groups for rollout in group.rollouts} == {(5, 5)}
    assert fence.version == 6


def test_between_steps_completions_record_the_versions_of_their_first_and_last_step(
    loop: Any, generator: DenoisingGenerator, fence: VersionFence, make_prompt: MakePrompt
) -> None:
    """With ``update_between: steps`` new weights come in while a batch is half denoised."""
    generator._update_between = "steps"
    steps: list[int] = []
    hidden = loop._denoiser.hidden

    def watched(*arguments: Any) -> Any:
        steps.append(fence.version)
        if len(steps) == 2:  # the second of three steps: the weights wait until it is done
            start_writer(fence, 6)
        return hidden(*arguments)

    loop._denoiser.hidden = watched
    (group,) = generator.generate(Waiting(make_prompt(0, 2)))
    assert steps == [5, 5, 6]
    assert group.version == 5
    assert [rollout.versions for rollout in group.rollouts] == [(5, 6)] * 2


def test_a_prompt_that_cannot_be_denoised_is_refused(
    generator: DenoisingGenerator, make_prompt: MakePrompt
) -> None:
    prompt = make_prompt(0)
    generator.check(prompt)
    empty = prompt.model_copy(update={"task": prompt.task.model_copy(update={"prompt": ""})})
    with pytest.raises(RequestError, match="empty"):
        generator.check(empty)


def test_training_completions_record_an_estimate_where_one_is_asked_for(
    loop: Any, fence: VersionFence, make_prompt: MakePrompt
) -> None:
    asked = []

    def estimate(key: SampleKey, text: Text) -> tuple[float, ...]:
        asked.append((key, text))
        return tuple(-1.0 - k for k in range(len(text.completion_ids)))

    encoder = PromptEncoder("builtin:quickstart", chat_template=False)
    generator = DenoisingGenerator("rollout-0", loop, encoder, fence, 1.0, "steps", estimate)
    training, held_out = make_prompt(3, 2), make_prompt(4, 1).model_copy(update={"purpose": Purpose.EVALUATION})
    groups = {group.prompt.index: group for group in generator.generate(Waiting(training, held_out))}
    assert [key for key, _ in asked] == [SampleKey(training.seed, 3, i, 0) for i in range(2)]
    for rollout, (_, text) in zip(groups[3].rollouts, asked, strict=True):
        assert text.completion_ids == rollout.completion_ids
        assert text.valid_tokens == rollout.text_tokens
        assert text.step_map == rollout.step_map
        assert rollout.sampling_logprobs == tuple(-1.0 - k for k in range(len(text.completion_ids)))
    assert groups[4].rollouts[0].sampling_logprobs == ()
