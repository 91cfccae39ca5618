"""From prompt groups to rollout groups: tokenize, denoise under the fence, decode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Literal, Protocol

from common.likelihood.views import SampleKey, Text
from common.models.prompts import PromptEncoder
from common.records import NoiseKey, PromptGroup, Purpose, Rollout, RolloutGroup, Sampler
from common.weights.fence import VersionFence
from rollout_workers.denoise import DenoiseLoop
from rollout_workers.requests import Completion, Request


class Prompts(Protocol):
    """Where prompt groups come from."""

    def peek(self) -> PromptGroup | None:
        """The next group, left where it is; None if there is none now."""

    def take(self) -> PromptGroup:
        """Remove the group that ``peek`` showed."""


#: Token log-likelihoods of a completion as the learner will estimate them, under the weights held now.
Estimate = Callable[[SampleKey, Text], tuple[float, ...]]


class DenoisingGenerator:
    """Denoises prompt groups with the worker's weights, which change between batches or between steps.

    With an ``estimate``, every completion of a training group records it.
    """

    def __init__(
        self,
        name: str,
        loop: DenoiseLoop,
        encoder: PromptEncoder,
        fence: VersionFence,
        deadline: float,
        update_between: Literal["batches", "steps"] = "batches",
        estimate: Estimate | None = None,
    ) -> None:
        self._name = name
        self._loop = loop
        self._encoder = encoder
        self._fence = fence
        self._deadline = deadline
        self._update_between = update_between
        self._estimate = estimate

    def check(self, prompt: PromptGroup) -> None:
        """Raise RequestError for a group that the model cannot complete."""
        self._loop.check(self._encoder.encode(prompt.task), prompt.sampler)

    def generate(self, prompts: Prompts) -> Iterator[RolloutGroup]:
        """Finished groups, as they finish, of the next prompt and of all that can join its batch.

        Groups of the same sampler join while the weights they need are here; when new weights wait, the batch runs
        out so that they can be loaded. Raises FenceTimeoutError without weights new enough.
        """
        first = prompts.peek()
        if first is None:
            return
        with ExitStack() as stack:
            batch = _Open(first.sampler, first.min_version)
            if self._update_between == "batches":
                version = stack.enter_context(self._fence.reading(first.min_version, self._deadline))

            def guard() -> AbstractContextManager[int]:
                if self._update_between == "batches":
                    return nullcontext(version)
                return self._fence.reading(batch.min_version, self._deadline)

            def supply() -> Sequence[Request]:
                prompt = prompts.peek()
                if prompt is None or not self._may_join(prompt, batch):
                    return ()
                return batch.add(prompts.take(), self._encoder.encode(prompt.task))

            for request, completion in self._loop.stream(supply, first.sampler, guard):
                finished = batch.finish(request, completion)
                if finished is not None:
                    with guard():
                        group = self._group(*finished)
                    yield group

    def _may_join(self, prompt: PromptGroup, batch: _Open) -> bool:
        if prompt.sampler != batch.sampler:
            return False
        if not batch.begun:
            return True
        drains = self._update_between == "batches" and self._fence.writer_waiting
        return not drains and prompt.min_version <= self._fence.version

    def _group(
        self, prompt: PromptGroup, prompt_ids: tuple[int, ...], completions: Sequence[Completion]
    ) -> RolloutGroup:
        return RolloutGroup(
            prompt=prompt,
            prompt_ids=prompt_ids,
            tokenizer_hash=self._encoder.fingerprint,
            version=min(completion.versions[0] for completion in completions),
            worker=self._name,
            seconds=sum(completion.seconds for completion in completions),
            rollouts=tuple(
                self._rollout(prompt, prompt_ids, i, completion) for i, completion in enumerate(completions)
            ),
        )

    def _rollout(
        self, prompt: PromptGroup, prompt_ids: tuple[int, ...], sample: int, completion: Completion
    ) -> Rollout:
        rollout = Rollout(
            sample=sample,
            completion_ids=completion.ids,
            text=self._encoder.decode(completion.ids[: completion.end]),
            end=completion.end,
            overwritten=completion.overwritten,
            step_map=completion.step_map,
            logprobs=completion.logprobs,
            model_logprobs=completion.model_logprobs,
            forwards=completion.forwards,
            versions=completion.versions,
        )
        if self._estimate is None or prompt.purpose is not Purpose.TRAIN:
            return rollout
        text = Text(prompt_ids, rollout.completion_ids, rollout.text_tokens, rollout.step_map, rollout.overwritten)
        found = self._estimate(SampleKey(prompt.seed, prompt.index, sample, iteration=0), text)
        return rollout.model_copy(update={"sampling_logprobs": found})


@dataclass
class _Open:
    """The groups of a running batch, until their last completion is there."""

    sampler: Sampler
    min_version: int
    begun: bool = False
    groups: dict[NoiseKey, tuple[PromptGroup, tuple[int, ...]]] = field(default_factory=dict)
    _found: dict[NoiseKey, Completion] = field(default_factory=dict)

    def add(self, prompt: PromptGroup, prompt_ids: tuple[int, ...]) -> list[Request]:
        self.begun = True
        self.min_version = max(self.min_version, prompt.min_version)
        keys = [prompt.noise_key(sample) for sample in range(prompt.group_size)]
        self.groups |= dict.fromkeys(keys, (prompt, prompt_ids))
        return [Request(prompt_ids, key) for key in keys]

    def finish(
        self, request: Request, completion: Completion
    ) -> tuple[PromptGroup, tuple[int, ...], list[Completion]] | None:
        """The group that this completion completes, with all its completions."""
        self._found[request.key] = completion
        prompt, prompt_ids = self.groups[request.key]
        keys = [prompt.noise_key(sample) for sample in range(prompt.group_size)]
        if not all(key in self._found for key in keys):
            return None
        for key in keys:
            del self.groups[key]
        return prompt, prompt_ids, [self._found.pop(key) for key in keys]
