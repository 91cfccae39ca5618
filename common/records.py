"""Every record that crosses a process boundary.

Records are frozen, versioned pydantic models. On the wire they are msgpack maps, never pickle; a message
that does not validate is a :class:`RecordError`, and its reader sends it to the dead-letter stream.

A *group* (one task, G completions) is the unit everywhere. Its life:

    PromptGroup  --rollout worker-->  RolloutGroup  --reward worker-->  TrajectoryGroup  --learner-->  weights
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Literal, Self

import msgpack
from pydantic import BaseModel, ConfigDict, ValidationError


class RecordError(ValueError):
    """The bytes are not a valid record of the expected kind and version."""


class Record(BaseModel):
    """Base of the wire records: frozen, closed, and tagged with a schema version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    SCHEMA: ClassVar[int] = 1

    def encode(self) -> bytes:
        body = self.model_dump(mode="python")
        packed: bytes = msgpack.packb({"kind": type(self).__name__, "schema": self.SCHEMA, "body": body})
        return packed

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse and validate. Raises :class:`RecordError` with the reason."""
        try:
            message = msgpack.unpackb(data, strict_map_key=False)
        except (ValueError, TypeError) as error:  # TypeError: a map key that is not hashable
            raise RecordError(f"{cls.__name__}: not a msgpack message: {error}") from error
        if not isinstance(message, dict):
            raise RecordError(f"{cls.__name__}: expected a map, got {type(message).__name__}")
        kind, schema = message.get("kind"), message.get("schema")
        if (kind, schema) != (cls.__name__, cls.SCHEMA):
            raise RecordError(f"expected {cls.__name__} schema {cls.SCHEMA}, got {kind} schema {schema}")
        try:
            return cls.model_validate(message.get("body"))
        except ValidationError as error:
            raise RecordError(f"{cls.__name__}: {error}") from error


class TestCase(Record):
    """One test of a task. What is expected stays on the host and never enters the sandbox.

    ``call``: ``call`` is a Python expression over the program's names, ``expected`` the literal it must
    equal. ``stdin``: ``stdin`` is fed to the program, ``expected`` is the text it must print.
    """

    __test__: ClassVar[bool] = False  # not a pytest class

    kind: Literal["call", "stdin"] = "call"
    call: str = ""
    stdin: str = ""
    expected: str


class Task(Record):
    """A programming task: a prompt for the model and tests for its completion.

    ``completion`` says what the model writes: ``continuation`` is appended to ``prefix`` as it is (the prefix
    is usually the prompt itself), ``fenced`` is a chat answer with one fenced Python block.
    """

    id: str
    family: str = ""
    prompt: str
    prefix: str = ""
    completion: Literal["continuation", "fenced"] = "continuation"
    entry_point: str | None = None
    tests: tuple[TestCase, ...]
    reference: str | None = None


class Verdict(StrEnum):
    """What became of one test. ``infra`` is our failure, not the program's: it is never a reward of 0."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT = "output"
    INFRA = "infra"


class Sampler(Record):
    """How a completion is denoised; recorded in every rollout."""

    decoder: Literal["entropy"] = "entropy"
    temperature: float
    top_p: float
    denoising_steps: int
    completion_length: int


class Purpose(StrEnum):
    TRAIN = "train"
    EVALUATION = "evaluation"


class PromptGroup(Record):
    """One task, to be completed ``group_size`` times by weights of at least ``min_version``.

    ``index`` numbers the groups of a purpose in admission order; with ``seed`` it keys the rollout's
    randomness. For an evaluation group ``evaluation`` names the evaluation round it belongs to.
    """

    run_id: str
    purpose: Purpose = Purpose.TRAIN
    evaluation: int = 0
    index: int
    seed: int
    task: Task
    group_size: int
    min_version: int
    sampler: Sampler


class Rollout(Record):
    """One completion.

    ``step_map[k]`` is the denoising step that committed position k, ``logprobs[k]`` the log-probability of its
    token under the sampler at that step. ``end`` is the index of the first end-of-text, or the completion
    length. Positions after ``end`` hold end-of-text.
    """

    sample: int
    completion_ids: tuple[int, ...]
    text: str
    end: int
    step_map: tuple[int, ...]
    logprobs: tuple[float, ...]


class RolloutGroup(Record):
    """The completions of one prompt group, all from the weights of ``version``."""

    prompt: PromptGroup
    prompt_ids: tuple[int, ...]
    tokenizer_hash: str
    version: int
    worker: str
    seconds: float
    rollouts: tuple[Rollout, ...]


class Score(Record):
    """The reward of one completion and what it is made of.

    ``masked`` is set when a test ended in ``infra``: the sample then counts neither in the group's baseline
    nor in the loss, and ``reward`` is 0 only as a placeholder.
    """

    reward: float
    components: dict[str, float]
    verdicts: tuple[Verdict, ...]
    masked: bool = False

    @property
    def passed(self) -> bool:
        return bool(self.verdicts) and all(v is Verdict.PASSED for v in self.verdicts)


class TrajectoryGroup(Record):
    """What the learner consumes: scored rollouts, or a group declared lost with its reason.

    A lost group carries its prompt, no rollouts and no scores; it keeps the ledger whole.
    """

    prompt: PromptGroup
    rollouts: RolloutGroup | None
    scores: tuple[Score, ...]
    worker: str
    seconds: float
    lost: str | None = None

    @classmethod
    def from_lost(cls, prompt: PromptGroup, worker: str, reason: str) -> TrajectoryGroup:
        return cls(prompt=prompt, rollouts=None, scores=(), worker=worker, seconds=0.0, lost=reason)


def as_plain(record: Record) -> dict[str, Any]:
    """The record as plain JSON data, for logs and reports."""
    return record.model_dump(mode="json")
