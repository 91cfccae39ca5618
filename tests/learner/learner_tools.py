"""Small real things for the learner's tests: a tiny model, training samples, trajectories."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from common import rng
from common.models.config import ModelConfig
from common.models.transformer import MaskedDiffusionModel, initialize
from common.records import (
    PromptGroup,
    Rollout,
    RolloutGroup,
    Sampler,
    Score,
    Task,
    TestCase,
    TrajectoryGroup,
    Verdict,
)
from learner.batch import PackedViews
from learner.policy import Policy
from learner.samples import TrainingSample

VOCABULARY = 20
MASK_ID = 0
END_ID = 1
LENGTH = 6

CONFIG = ModelConfig(
    vocab_size=VOCABULARY,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    rope_theta=10_000.0,
    mask_token_id=MASK_ID,
    eos_token_id=END_ID,
    pad_token_id=END_ID,
)


def tiny_policy(
    seed: int = 0, config: ModelConfig = CONFIG, chunk_rows: int = 1000, dtype: torch.dtype = torch.float32
) -> Policy:
    """A random model whose predictions are far from uniform, which scores ``chunk_rows`` rows at a time."""
    model = MaskedDiffusionModel(config)
    initialize(model, torch.Generator().manual_seed(seed), std=0.3)
    return Policy(model, dtype, logits_bytes=4 * config.vocab_size * chunk_rows)


def by_sample(packed: PackedViews, values: Tensor) -> Tensor:
    """Token values [T] of packed views with those of each sample together."""
    return values[packed.tokens.owner.sort(stable=True).indices]


def make_samples(count: int, step: int = 0) -> list[TrainingSample]:
    """Samples in groups of four, with different prompt lengths, ends and advantages."""
    draw = rng.stream(11, "test-samples", step)
    samples = []
    for i in range(count):
        group, sample = divmod(i, 4)
        samples.append(
            TrainingSample(
                group=100 * step + group,
                sample=sample,
                prompt_ids=tuple(2 + (7 * group + k + step) % (VOCABULARY - 2) for k in range(3 + 2 * group)),
                completion_ids=tuple(int(t) for t in draw.integers(2, VOCABULARY, LENGTH)),
                valid_tokens=1 + (i + step) % LENGTH,
                step_map=tuple((k * (i + 2) + i) % (2 * LENGTH - 1) for k in range(LENGTH)),
                reward=float(draw.random()),
                advantage=(-1.0) ** i * (0.25 + 0.5 * float(draw.random())),
            )
        )
    return samples


def make_group(
    index: int,
    rewards: Sequence[float] = (0.0, 1.0),
    *,
    version: int = 0,
    excluded: Sequence[bool] | None = None,
    ends: Sequence[int] | None = None,
    seconds: float = 1.0,
    decoder: str = "entropy",
) -> TrajectoryGroup:
    """A scored group of completions of :data:`LENGTH` tokens; later samples took more forward passes."""
    count = len(rewards)
    excluded = excluded or [False] * count
    ends = ends or [LENGTH] * count
    prompt = make_prompt(index, count, decoder)
    rollouts = RolloutGroup(
        prompt=prompt,
        prompt_ids=(5, 6, 7),
        tokenizer_hash="hash",
        version=version,
        worker="rollout-0",
        seconds=2 * seconds,
        rollouts=tuple(
            Rollout(
                sample=i,
                completion_ids=tuple(2 + (index + i + k) % 7 if k < ends[i] else END_ID for k in range(LENGTH)),
                text=f"program {index}.{i}",
                end=ends[i],
                step_map=tuple((k * (i + 2)) % LENGTH for k in range(LENGTH)),
                logprobs=(-0.5,) * LENGTH,
                model_logprobs=tuple(-0.25 * (1 + index + i + k) for k in range(LENGTH)),
                forwards=LENGTH + i,
                versions=(version + i, version + i),
            )
            for i in range(count)
        ),
    )
    scores = tuple(
        Score(
            reward=reward,
            components={"tests": reward, "format": 1.0},
            verdicts=(Verdict.INFRA,)
            if out
            else (Verdict.PASSED if reward >= 1 else Verdict.FAILED, Verdict.PASSED),
            excluded=out,
        )
        for reward, out in zip(rewards, excluded, strict=True)
    )
    return TrajectoryGroup(prompt=prompt, rollouts=rollouts, scores=scores, worker="reward-0", seconds=seconds)


def make_step(step: int) -> list[TrajectoryGroup]:
    """The groups of a step: early ends, excluded samples, a flat group, one with a single sample that counts."""
    first, middle = 4 * step, (step + 2) % LENGTH
    return [
        make_group(first, (0.0, 1.0, 9.0, 2.5), excluded=[False, False, True, False], ends=[middle, LENGTH, 1, 4]),
        make_group(first + 1, (1.0, 1.0), ends=[LENGTH, 2]),
        make_group(first + 2, (0.5, 0.0, 2.0), ends=[0, LENGTH - 1, LENGTH]),
        make_group(first + 3, (0.0, 1.0), excluded=[True, False], ends=[3, 3]),
    ]


def lost_group(index: int) -> TrajectoryGroup:
    return TrajectoryGroup.from_lost(make_prompt(index, 2), "rollout-0", "killed its worker 3 times")


def make_prompt(index: int, group_size: int, decoder: str = "entropy") -> PromptGroup:
    return PromptGroup(
        run_id="test",
        index=index,
        seed=0,
        task=Task(id=f"task-{index}", prompt="def f():", tests=(TestCase(call="f()", expected="1"),)),
        group_size=group_size,
        min_version=0,
        sampler=Sampler(
            decoder=decoder, temperature=1.2, top_p=0.95, denoising_steps=LENGTH, completion_length=LENGTH
        ),
    )
