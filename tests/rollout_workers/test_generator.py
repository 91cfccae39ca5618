from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from common.models.loading import load_tokenizer, tokenizer_hash
from common.records import PromptGroup, Purpose, RolloutGroup
from rollout_workers.fence import FenceTimeoutError, VersionFence
from rollout_workers.generator import DenoisingGenerator

MakePrompt = Callable[..., PromptGroup]


def completions(group: RolloutGroup) -> list[tuple[Any, ...]]:
    return [(rollout.completion_ids, rollout.step_map) for rollout in group.rollouts]


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [([2, 2], [4]), ([4, 4, 4], [8, 4]), ([3, 3, 3], [6, 3]), ([8, 1], [8, 1]), ([12, 2], [12, 2]), ([5], [5])],
)
def test_batches_hold_at_most_batch_rows_unless_one_group_is_larger(
    generator: DenoisingGenerator, loop: Any, make_prompt: MakePrompt, sizes: list[int], batches: list[int]
) -> None:
    groups = generator.generate([make_prompt(i, size) for i, size in enumerate(sizes)])
    assert loop.batches == batches
    assert [len(group.rollouts) for group in groups] == sizes
    assert [group.prompt.index for group in groups] == list(range(len(sizes)))


def test_groups_of_different_samplers_run_apart(
    generator: DenoisingGenerator, loop: Any, make_prompt: MakePrompt
) -> None:
    prompts = [make_prompt(i, 1, temperature) for i, temperature in enumerate([1.2, 1.2, 0.0, 1.2])]
    groups = generator.generate(prompts)
    assert loop.batches == [2, 1, 1]
    assert [group.prompt for group in groups] == prompts


def test_nothing_to_generate(generator: DenoisingGenerator, loop: Any) -> None:
    assert generator.generate([]) == []
    assert loop.batches == []


def test_a_rollout_group_says_all_about_its_origin(generator: DenoisingGenerator, make_prompt: MakePrompt) -> None:
    prompt = make_prompt(3, 4)
    (group,) = generator.generate([prompt])
    tokenizer = load_tokenizer("builtin:quickstart")
    assert (group.prompt, group.version, group.worker) == (prompt, 5, "rollout-0")
    assert group.prompt_ids == tuple(tokenizer(prompt.task.prompt)["input_ids"])
    assert group.tokenizer_hash == tokenizer_hash("builtin:quickstart")
    assert group.seconds > 0
    for sample, rollout in enumerate(group.rollouts):
        assert rollout.sample == sample
        assert len(rollout.completion_ids) == len(rollout.step_map) == len(rollout.logprobs) == 6
        assert rollout.text == tokenizer.decode(rollout.completion_ids[: rollout.end], skip_special_tokens=True)
    assert RolloutGroup.decode(group.encode()) == group


def test_a_group_is_the_same_alone_or_in_company(generator: DenoisingGenerator, make_prompt: MakePrompt) -> None:
    prompts = [make_prompt(i, 3) for i in range(4)]
    together = generator.generate(prompts)
    alone = [generator.generate([prompt])[0] for prompt in prompts]
    assert list(map(completions, together)) == list(map(completions, alone))


def test_samples_groups_purposes_rounds_and_seeds_have_noise_of_their_own(
    generator: DenoisingGenerator, make_prompt: MakePrompt
) -> None:
    task = make_prompt(0).task
    variants: list[dict[str, Any]] = [
        {},
        {"seed": 1},
        {"index": 1},
        {"purpose": Purpose.EVALUATION},
        {"purpose": Purpose.EVALUATION, "evaluation": 1},
    ]
    groups = generator.generate([make_prompt(**{"task": task} | variant) for variant in variants])
    drawn = [completion for group in groups for completion in completions(group)]
    assert len(set(drawn)) == 2 * len(variants)


def test_the_newest_version_asked_for_must_be_there(
    generator: DenoisingGenerator, fence: VersionFence, make_prompt: MakePrompt
) -> None:
    prompts = [make_prompt(0, min_version=5), make_prompt(1, min_version=6)]
    with pytest.raises(FenceTimeoutError, match="version 6; holding 5"):
        generator.generate(prompts)
    with fence.writing(6, 1.0):
        pass
    assert [group.version for group in generator.generate(prompts)] == [6, 6]
