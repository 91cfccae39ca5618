"""From prompt groups to rollout groups: tokenize, denoise under the fence, decode."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import groupby

from common.models.prompts import PromptEncoder
from common.records import PromptGroup, Rollout, RolloutGroup
from rollout_workers.denoise import Completion, DenoiseLoop, Request
from rollout_workers.fence import VersionFence


class DenoisingGenerator:
    """Denoises prompt groups with the worker's current weights, at most ``batch_rows`` completions at once."""

    def __init__(
        self,
        name: str,
        loop: DenoiseLoop,
        encoder: PromptEncoder,
        fence: VersionFence,
        batch_rows: int,
        deadline: float,
    ) -> None:
        self._name = name
        self._loop = loop
        self._encoder = encoder
        self._fence = fence
        self._batch_rows = batch_rows
        self._deadline = deadline

    def generate(self, prompts: Sequence[PromptGroup]) -> list[RolloutGroup]:
        """The rollout groups, in the order of the prompts. Raises FenceTimeoutError without new enough weights."""
        results: list[RolloutGroup] = []
        for batch in self._batches(prompts):
            newest = max(prompt.min_version for prompt in batch)
            with self._fence.reading(newest, self._deadline) as version:
                results += self._denoise(batch, version)
        return results

    def _batches(self, prompts: Sequence[PromptGroup]) -> Iterator[list[PromptGroup]]:
        """Runs of groups with one sampler, cut at ``batch_rows`` completions."""
        for _, run in groupby(prompts, key=lambda prompt: prompt.sampler):
            batch: list[PromptGroup] = []
            for prompt in run:
                rows = sum(p.group_size for p in batch) + prompt.group_size
                if batch and rows > self._batch_rows:
                    yield batch
                    batch = []
                batch.append(prompt)
            yield batch

    def _denoise(self, batch: Sequence[PromptGroup], version: int) -> list[RolloutGroup]:
        started = time.perf_counter()
        encoded = [self._encoder.encode(prompt.task) for prompt in batch]
        requests = [
            Request(ids, prompt.seed, f"noise-{prompt.purpose}", (prompt.evaluation, prompt.index, sample))
            for prompt, ids in zip(batch, encoded, strict=True)
            for sample in range(prompt.group_size)
        ]
        completions = iter(self._loop.run(requests, batch[0].sampler))
        seconds = (time.perf_counter() - started) / len(batch)
        return [
            RolloutGroup(
                prompt=prompt,
                prompt_ids=ids,
                tokenizer_hash=self._encoder.fingerprint,
                version=version,
                worker=self._name,
                seconds=seconds,
                rollouts=tuple(self._rollout(i, next(completions)) for i in range(prompt.group_size)),
            )
            for prompt, ids in zip(batch, encoded, strict=True)
        ]

    def _rollout(self, sample: int, completion: Completion) -> Rollout:
        return Rollout(
            sample=sample,
            completion_ids=completion.ids,
            text=self._encoder.decode(completion.ids[: completion.end]),
            end=completion.end,
            step_map=completion.step_map,
            logprobs=completion.logprobs,
        )
