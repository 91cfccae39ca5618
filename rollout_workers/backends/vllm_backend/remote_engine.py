"""The denoising engine of a backend whose model runs in other processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from common.models.config import ModelConfig
from common.records import Sampler
from rollout_workers.backends.vllm_backend.errors import VllmError
from rollout_workers.engine import Finished
from rollout_workers.requests import Request, check_prompt


@dataclass(frozen=True)
class Progress:
    """The state of the engine in a process after some steps.

    Only rank 0 tells what is ``finished``; all give the ``digest`` of its tokens, which must be the same.
    """

    finished: tuple[Finished, ...]
    digest: int
    has_unfinished: bool
    room: int


#: Hands requests over and makes steps: (new requests, sampler, version, most steps) -> answers by rank.
Advance = Callable[[list[Request], Sampler, int, int], list[Progress]]


class RemoteEngine:
    """Hands requests to the engines in the processes, all of which do the same; see ``DenoisingEngine``."""

    def __init__(self, advance: Advance, config: ModelConfig, batch_tokens: int, most_steps: int) -> None:
        self._advance = advance
        self._config = config
        self._batch_tokens = batch_tokens
        self._most_steps = most_steps
        self._sampler: Sampler | None = None
        self._new: list[Request] = []
        self._room = batch_tokens

    @property
    def has_unfinished(self) -> bool:
        return self._sampler is not None

    @property
    def has_room(self) -> bool:
        return self._room > 0

    def accepts(self, sampler: Sampler) -> bool:
        return self._sampler is None or self._sampler == sampler

    def check(self, prompt_ids: tuple[int, ...], sampler: Sampler) -> None:
        check_prompt(prompt_ids, sampler, self._config)

    def add(self, requests: Iterable[Request], sampler: Sampler) -> None:
        if not self.accepts(sampler):
            raise ValueError("requests of another sampler are unfinished; step until they are done")
        for request in requests:
            size = len(request.prompt_ids) + sampler.completion_length
            # As the engine will decide: a row that does not fit waits, unless it is alone.
            self._room = self._room - size if size <= self._room or self._sampler is None else 0
            self._sampler = sampler
            self._new.append(request)

    def step(self, version: int = 0) -> list[Finished]:
        if self._sampler is None:
            return []
        answers = self._advance(self._new, self._sampler, version, self._most_steps)
        first = answers[0]
        if any(answer.digest != first.digest for answer in answers):
            raise VllmError("the tensor-parallel ranks wrote different tokens")
        self._new = []
        self._room = first.room
        if not first.has_unfinished:
            self._sampler = None
        return list(first.finished)
