"""Prompt groups in, rollout groups out: tokenize, denoise under the fence, decode."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal

from common.heartbeat import Heartbeat
from common.likelihood.views import SampleKey, Text
from common.models.prompts import PromptEncoder
from common.records import NoiseKey, PromptGroup, Purpose, Rollout, RolloutGroup
from common.weights.fence import FenceTimeoutError, VersionFence
from rollout_workers.backends.interface import Engine
from rollout_workers.engine import Finished
from rollout_workers.requests import Request

#: Token log-likelihoods [L] of a completion as the learner will estimate them, under the weights held now.
Estimate = Callable[[SampleKey, Text], tuple[float, ...]]


class RolloutEngine:
    """Completes prompt groups with the worker's weights, which change between batches or between steps.

    A batch runs from the first group that is added until nothing is unfinished. With an ``estimate``, every
    completion of a training group records it. All waits for weights are at most ``deadline`` seconds long. Every
    step is progress to ``heart``, and ``on_step`` is told the version that it was made with.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        encoder: PromptEncoder,
        fence: VersionFence,
        deadline: float,
        update_between: Literal["batches", "steps"] = "batches",
        estimate: Estimate | None = None,
        heart: Heartbeat | None = None,
        on_step: Callable[[int], None] = lambda version: None,
    ) -> None:
        self._name = name
        self._engine = engine
        self._encoder = encoder
        self._fence = fence
        self._deadline = deadline
        self._update_between = update_between
        self._estimate = estimate
        self._heart = heart or Heartbeat(deadline)
        self._on_step = on_step
        self._open: dict[NoiseKey, _OpenGroup] = {}
        self._held_weights: ExitStack | None = None

    @property
    def has_unfinished(self) -> bool:
        """Whether some group is not finished."""
        return self._engine.has_unfinished

    @property
    def has_room(self) -> bool:
        """Whether a group added now would begin at once; not while a batch runs out because new weights wait."""
        drains = self._update_between == "batches" and self._fence.writer_waiting
        return not self.has_unfinished or (self._engine.has_room and not drains)

    @property
    def version(self) -> int:
        """The version of the weights that are held now; -1 for none."""
        return self._fence.version

    def accepts(self, prompt: PromptGroup) -> bool:
        """Tell whether the group can be added now: to a running batch only if sampler and weights are right."""
        if not self.has_unfinished:
            return True
        return self._engine.accepts(prompt.sampler) and prompt.min_version <= self._fence.version

    def has_weights_for(self, prompt: PromptGroup, patience: float = 0.0) -> bool:
        """Tell whether the weights are as new as the group asks for; wait for them up to ``patience`` seconds.

        Raises FenceTimeoutError where that is as long as a wait may be.
        """
        if prompt.min_version <= self._fence.version:
            return True
        if not patience:
            return False
        self._heart.waiting(f"weights of version {prompt.min_version}")
        try:
            with self._fence.reading(prompt.min_version, min(patience, self._deadline)):
                return True
        except FenceTimeoutError:
            if patience >= self._deadline:
                raise
            return False

    def check(self, prompt: PromptGroup) -> None:
        """Raise RequestError for a group that the model cannot complete."""
        self._engine.check(self._encoder.encode(prompt.task), prompt.sampler)

    def add(self, prompt: PromptGroup) -> None:
        """Add a group that has passed :meth:`check` and that the engine accepts."""
        group = _OpenGroup(prompt, self._encoder.encode(prompt.task))
        self._open |= dict.fromkeys(group.keys, group)
        self._engine.add([Request(group.prompt_ids, key) for key in group.keys], prompt.sampler)

    def step(self) -> list[RolloutGroup]:
        """Have the engine step; return the groups whose last completion is there.

        Waits for weights as new as the groups ask for. Raises FenceTimeoutError where they do not come in time.
        """
        if not self.has_unfinished:
            return []
        held, self._held_weights = self._held_weights or self._hold_weights(), None
        with held:
            self._heart.doing("denoising")
            finished = self._engine.step(self._fence.version)
            self._on_step(self._fence.version)
            groups = [self._group(group) for group in map(self._collect, finished) if group is not None]
            if self._update_between == "batches" and self.has_unfinished:
                self._held_weights = held.pop_all()
        return groups

    def _hold_weights(self) -> ExitStack:
        """Keep the weights from changing until the stack is closed."""
        needed = max(group.prompt.min_version for group in self._open.values())
        if needed > self._fence.version:
            self._heart.waiting(f"weights of version {needed}")
        held = ExitStack()
        held.enter_context(self._fence.reading(needed, self._deadline))
        return held

    def _collect(self, done: Finished) -> _OpenGroup | None:
        """Put a completion into its group; return the group if it was the last one."""
        group = self._open[done.request.key]
        group.finished[done.request.key] = done
        if len(group.finished) < len(group.keys):
            return None
        for key in group.keys:
            del self._open[key]
        return group

    def _group(self, group: _OpenGroup) -> RolloutGroup:
        finished = [group.finished[key] for key in group.keys]
        return RolloutGroup(
            prompt=group.prompt,
            prompt_ids=group.prompt_ids,
            tokenizer_hash=self._encoder.fingerprint,
            version=min(done.completion.versions[0] for done in finished),
            worker=self._name,
            seconds=sum(done.seconds for done in finished),
            rollouts=tuple(self._rollout(group, sample, done) for sample, done in enumerate(finished)),
        )

    def _rollout(self, group: _OpenGroup, sample: int, done: Finished) -> Rollout:
        prompt, completion = group.prompt, done.completion
        estimated: tuple[float, ...] = ()
        if self._estimate is not None and prompt.purpose is Purpose.TRAIN:
            key = SampleKey(prompt.seed, prompt.index, sample, iteration=0)
            estimated = self._estimate(key, Text.of(group.prompt_ids, completion))
        return Rollout(
            **dict(completion),
            sample=sample,
            text=self._encoder.answer(prompt.task, completion.completion_ids[: completion.end]),
            sampling_logprobs=estimated,
        )


@dataclass(frozen=True)
class _OpenGroup:
    """A group some of whose completions are not finished."""

    prompt: PromptGroup
    prompt_ids: tuple[int, ...]
    finished: dict[NoiseKey, Finished] = field(default_factory=dict)

    @property
    def keys(self) -> list[NoiseKey]:
        return [self.prompt.noise_key(sample) for sample in range(self.prompt.group_size)]
