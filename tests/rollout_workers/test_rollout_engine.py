from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from common.config import PromptSettings
from common.likelihood.views import SampleKey, Text
from common.models.folder import load_tokenizer
from common.models.prompts import PromptEncoder
from common.records import PromptGroup, Purpose, RolloutGroup
from common.weights.fence import FenceTimeoutError, VersionFence
from rollout_workers.requests import RequestError
from rollout_workers.rollout_engine import RolloutEngine
from tests.rollout_workers.conftest import (
    RecordingEngine,
    TirelessEngine,
    WatchedDenoiser,
    both_kinds_of_step,
    drive,
)

MakePrompt = Callable[..., PromptGroup]
MakeEngine = Callable[..., RolloutEngine]


def completions(group: RolloutGroup) -> list[tuple[Any, ...]]:
    return [(rollout.completion_ids, rollout.step_map) for rollout in group.rollouts]


@both_kinds_of_step
def test_groups_join_one_batch_beyond_its_token_budget(
    engine: RolloutEngine, denoising: RecordingEngine, make_prompt: MakePrompt
) -> None:
    """Seven groups of three are far more than 150 tokens: rows wait, and groups come as they finish."""
    prompts = [make_prompt(i, 3) for i in range(7)]
    groups = drive(engine, *prompts)
    assert denoising.batches == [21]
    assert sorted(group.prompt.index for group in groups) == list(range(7))
    assert [len(group.rollouts) for group in groups] == [3] * 7


def test_groups_of_different_samplers_run_apart(
    engine: RolloutEngine, denoising: RecordingEngine, make_prompt: MakePrompt
) -> None:
    prompts = [make_prompt(i, 1, temperature) for i, temperature in enumerate([1.2, 1.2, 0.0, 1.2])]
    groups = drive(engine, *prompts)
    assert denoising.batches == [2, 1, 1]
    assert sorted(group.prompt.index for group in groups) == [0, 1, 2, 3]


def test_without_groups_a_step_does_nothing(engine: RolloutEngine) -> None:
    assert engine.has_room
    assert not engine.has_unfinished
    assert engine.step() == []


def test_a_rollout_group_says_all_about_its_origin(engine: RolloutEngine, make_prompt: MakePrompt) -> None:
    prompt = make_prompt(3, 4)
    (group,) = drive(engine, prompt)
    tokenizer = load_tokenizer("builtin:quickstart")
    assert (group.prompt, group.version, group.worker) == (prompt, 5, "rollout-0")
    assert group.prompt_ids == tuple(tokenizer(prompt.task.prompt)["input_ids"])
    assert group.tokenizer_hash == PromptEncoder("builtin:quickstart", PromptSettings()).fingerprint
    assert group.seconds > 0
    for sample, rollout in enumerate(group.rollouts):
        assert rollout.sample == sample
        assert rollout.versions == (5, 5)
        assert 1 <= rollout.forwards <= 3
        lengths = [len(row) for row in (rollout.completion_ids, rollout.step_map, rollout.logprobs)]
        assert lengths == [6, 6, 6]
        assert rollout.text == tokenizer.decode(rollout.completion_ids[: rollout.end], skip_special_tokens=True)
    assert RolloutGroup.decode(group.encode()) == group


def test_an_answer_begins_with_its_prefix(make_engine: MakeEngine, make_prompt: MakePrompt) -> None:
    """The model reads it as the end of its prompt; the text that is scored begins with it."""
    begun = "Here it is:\n```python\n"
    task = make_prompt().task.model_copy(update={"completion": "fenced"})
    engine = make_engine(PromptSettings(answer_prefix=begun))
    fenced, continued = drive(engine, make_prompt(0, task=task), make_prompt(1))
    tokenizer = load_tokenizer("builtin:quickstart")
    assert fenced.prompt_ids == tuple(tokenizer(task.prompt + begun)["input_ids"])
    assert continued.prompt_ids == tuple(tokenizer(continued.prompt.task.prompt)["input_ids"])
    for group, prefix in ((fenced, begun), (continued, "")):
        for rollout in group.rollouts:
            written = tokenizer.decode(rollout.completion_ids[: rollout.end], skip_special_tokens=True)
            assert rollout.text == prefix + written


@both_kinds_of_step
def test_a_group_is_the_same_alone_or_in_company(
    engine: RolloutEngine, denoising: RecordingEngine, make_prompt: MakePrompt
) -> None:
    prompts = [make_prompt(i, 3) for i in range(4)]
    together = sorted(drive(engine, *prompts), key=lambda group: group.prompt.index)
    alone = [drive(engine, prompt)[0] for prompt in prompts]
    assert list(map(completions, together)) == list(map(completions, alone))


def test_samples_groups_purposes_rounds_and_seeds_have_noise_of_their_own(
    engine: RolloutEngine, make_prompt: MakePrompt
) -> None:
    task = make_prompt(0).task
    variants: list[dict[str, Any]] = [
        {},
        {"seed": 1},
        {"index": 1},
        {"purpose": Purpose.EVALUATION},
        {"purpose": Purpose.EVALUATION, "evaluation": 1},
    ]
    groups = drive(engine, *(make_prompt(**{"task": task} | variant) for variant in variants))
    drawn = [completion for group in groups for completion in completions(group)]
    assert len(set(drawn)) == 2 * len(variants)


def test_a_prompt_waits_for_the_version_it_asks_for(
    engine: RolloutEngine, fence: VersionFence, denoising: RecordingEngine, make_prompt: MakePrompt
) -> None:
    """It does not join the batch that runs on older weights, and does not spoil it."""
    old, new = make_prompt(0, min_version=5), make_prompt(1, min_version=6)
    engine.add(old)
    assert not engine.accepts(new)
    (group,) = drive(engine)
    assert group.version == 5
    engine.add(new)
    with pytest.raises(FenceTimeoutError, match="version 6; holding 5"):
        engine.step()
    with fence.writing(6, 1.0):
        pass
    (group,) = drive(engine)
    assert (group.prompt, group.version) == (new, 6)


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
    engine: RolloutEngine, fence: VersionFence, make_prompt: MakePrompt
) -> None:
    engine.add(make_prompt(0))
    groups = engine.step()
    assert engine.has_room
    writer = start_writer(fence, 6)
    assert not engine.has_room
    groups += drive(engine)
    writer.join(30.0)
    assert fence.version == 6
    assert engine.has_room
    groups += drive(engine, make_prompt(1))
    assert [{rollout.versions for rollout in group.rollouts} for group in groups] == [{(5, 5)}, {(6, 6)}]


@pytest.mark.parametrize("denoising", [TirelessEngine], indirect=True)
def test_weights_that_come_in_the_middle_of_a_long_step_change_nothing_before_the_batch_is_done(
    engine: RolloutEngine, denoiser: WatchedDenoiser, fence: VersionFence, make_prompt: MakePrompt
) -> None:
    passes: list[int] = []

    def watch() -> None:
        passes.append(fence.version)
        if len(passes) == 2:
            start_writer(fence, 6)

    denoiser.before_pass = watch
    prompts = [make_prompt(i, 4) for i in range(6)]
    first = drive(engine, *prompts[:4])
    assert {rollout.versions for group in first for rollout in group.rollouts} == {(5, 5)}
    while fence.writer_waiting:
        pass
    second = drive(engine, *prompts[4:])
    assert {rollout.versions for group in second for rollout in group.rollouts} == {(6, 6)}


def test_weights_that_failed_to_load_serve_no_further_batch(
    engine: RolloutEngine, fence: VersionFence, make_prompt: MakePrompt
) -> None:
    with pytest.raises(OSError, match="damaged"), fence.writing(6, 1.0):
        raise OSError("damaged")
    engine.add(make_prompt(0))
    with pytest.raises(FenceTimeoutError, match="holding -1"):
        engine.step()


def test_a_step_that_fails_lets_the_weights_go(
    engine: RolloutEngine, denoiser: WatchedDenoiser, fence: VersionFence, make_prompt: MakePrompt
) -> None:
    def fail() -> None:
        raise FloatingPointError("diverged")

    engine.add(make_prompt(0))
    engine.step()
    denoiser.before_pass = fail
    with pytest.raises(FloatingPointError):
        engine.step()
    with fence.writing(6, 0.1):
        pass
    assert fence.version == 6


def test_between_steps_completions_record_the_versions_of_their_first_and_last_step(
    make_engine: MakeEngine, denoiser: WatchedDenoiser, fence: VersionFence, make_prompt: MakePrompt
) -> None:
    """With ``update_between: steps`` new weights come in while a batch is half denoised."""
    engine = make_engine(update_between="steps")
    steps: list[int] = []

    def watch() -> None:
        steps.append(fence.version)
        if len(steps) == 2:  # the second of three steps: the weights wait until it is done
            start_writer(fence, 6)

    denoiser.before_pass = watch
    (group,) = drive(engine, make_prompt(0, 2))
    assert steps == [5, 5, 6]
    assert group.version == 5
    assert [rollout.versions for rollout in group.rollouts] == [(5, 6)] * 2


def test_a_prompt_that_cannot_be_denoised_is_refused(engine: RolloutEngine, make_prompt: MakePrompt) -> None:
    prompt = make_prompt(0)
    engine.check(prompt)
    empty = prompt.model_copy(update={"task": prompt.task.model_copy(update={"prompt": ""})})
    with pytest.raises(RequestError, match="empty"):
        engine.check(empty)


def test_training_completions_record_an_estimate_where_one_is_asked_for(
    make_engine: MakeEngine, make_prompt: MakePrompt
) -> None:
    asked = []

    def estimate(key: SampleKey, text: Text) -> tuple[float, ...]:
        asked.append((key, text))
        return tuple(-1.0 - k for k in range(len(text.completion_ids)))

    engine = make_engine(update_between="steps", estimate=estimate)
    training, held_out = make_prompt(3, 2), make_prompt(4, 1).model_copy(update={"purpose": Purpose.EVALUATION})
    groups = {group.prompt.index: group for group in drive(engine, training, held_out)}
    assert [key for key, _ in asked] == [SampleKey(training.seed, 3, i, 0) for i in range(2)]
    for rollout, (_, text) in zip(groups[3].rollouts, asked, strict=True):
        assert text.completion_ids == rollout.completion_ids
        assert text.valid_tokens == rollout.text_tokens
        assert text.step_map == rollout.step_map
        assert rollout.sampling_logprobs == tuple(-1.0 - k for k in range(len(text.completion_ids)))
    assert groups[4].rollouts[0].sampling_logprobs == ()
