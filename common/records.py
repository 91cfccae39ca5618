"""Every record that crosses a process boundary.

Records are frozen, versioned pydantic models. On the wire they are msgpack maps, never pickle; a message
that does not validate is a :class:`RecordError`, and its reader sends it to the dead-letter stream.

A *group* (one task, G completions) is the unit everywhere. Its life:

    PromptGroup  --rollout worker-->  RolloutGroup  --reward worker-->  TrajectoryGroup  --learner-->  weights
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Protocol, Self

import msgpack
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class RecordError(ValueError):
    """The bytes are not a valid record of the expected kind and version."""


class Record(BaseModel):
    """Base of the wire records: frozen, closed, and tagged with a schema version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    SCHEMA: ClassVar[int] = 4

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


Comparison = Literal["equal", "close", "as_set", "presence"]


class TestCase(Record):
    """One test of a task. What is expected stays on the host and never enters the solution's process.

    - ``call``: the Python expression ``call`` over the program's names must have the value ``expected``, a
    literal. - ``stdin``: the program is fed ``stdin`` and must print ``expected``.
    - ``script``: Python source that raises unless the solution is right (asserts, ``check(candidate)``, unittest).
    It
      runs in a process of its own, after the task's ``test_setup``, and reaches the solution by the task's
      ``exports``.

    ``expected`` None, of ``call`` and ``stdin``, means: what the task's reference gives. ``comparison`` of
    ``call``: Python's ``==``; ``close``, equal up to ``tolerance`` wherever a number stands (also of ``stdin``);
    ``as_set``, the same elements; ``presence``, both None or neither.
    """

    __test__: ClassVar[bool] = False  # not a pytest class

    kind: Literal["call", "stdin", "script"] = "call"
    call: str = ""
    stdin: str = ""
    script: str = ""
    expected: str | None = None
    comparison: Comparison = "equal"
    tolerance: float = 0.0


class Task(Record):
    """A programming task: a prompt for the model and tests for its completion.

    ``completion`` says what the model writes: ``continuation`` is appended to ``prefix`` as it is (the prefix
    is usually the prompt itself), ``fenced`` is a chat answer with one fenced Python block.

    ``reference``, a right solution, follows ``prefix``: the whole program is ``prefix + reference``.
    ``test_setup`` runs before every script test, where the tests run; ``exports`` are the names of the solution
    that tests may use. ``in_process``: the scripts need the solution's very objects, so they run in its process
    and their verdicts are forgeable. The first ``shown_tests`` tests are part of the prompt.
    """

    id: str
    family: str = ""
    prompt: str
    prefix: str = ""
    completion: Literal["continuation", "fenced"] = "continuation"
    entry_point: str | None = None
    tests: tuple[TestCase, ...]
    test_setup: str = ""
    exports: tuple[str, ...] = ()
    in_process: bool = False
    shown_tests: Annotated[int, Field(ge=0)] = 0
    reference: str | None = None


class Verdict(StrEnum):
    """What became of one test. ``infra`` is our failure, not the program's: it is never a reward of 0.

    ``skipped``: not run, because an earlier test had already decided the reward.
    """

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT = "output"
    INFRA = "infra"
    SKIPPED = "skipped"


Decoder = Literal["entropy", "topk_margin", "maskgit_plus", "origin", "low_confidence", "random", "threshold"]
#: Decoders of Dream and DiffuCoder: one time grid for the whole completion.
DREAM_DECODERS = ("entropy", "topk_margin", "maskgit_plus", "origin")
#: Decoders that commit positions in random order, whatever the model says.
RANDOM_DECODERS = ("origin", "random")
#: Decoders that rank positions by the token drawn there, so that every candidate is drawn at every step.
DRAW_FIRST_DECODERS = ("maskgit_plus", "low_confidence", "threshold")

Temperature = Annotated[float, Field(ge=0)]
TopP = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
Threshold = Annotated[float, Field(gt=0, lt=1)]


class SamplerSettings(Protocol):
    """What :func:`check_sampler` reads; a recipe's rollout section and a wire record both have it."""

    @property
    def decoder(self) -> Decoder: ...
    @property
    def decoder_temperature(self) -> float: ...
    @property
    def denoising_steps(self) -> int: ...
    @property
    def completion_length(self) -> int: ...
    @property
    def block_length(self) -> int: ...
    @property
    def upstream(self) -> bool: ...
    @property
    def approximate_cache(self) -> str: ...


def check_sampler(settings: SamplerSettings) -> None:
    """Raise ValueError, naming the field and the remedy, for settings that contradict each other."""
    steps, length, block = settings.denoising_steps, settings.completion_length, settings.block_length
    if steps > length:
        raise ValueError("denoising_steps: more steps than tokens; set it to at most completion_length")
    if block and length % block:
        raise ValueError("block_length: must divide completion_length, or be 0 for no blocks")
    if block and steps % (length // block):
        raise ValueError(f"denoising_steps: must be a multiple of the number of blocks, {length // block} here")
    if settings.decoder_temperature and settings.decoder in (*RANDOM_DECODERS, "threshold"):
        raise ValueError(f"decoder_temperature: the {settings.decoder} decoder ranks nothing; set it to 0")
    if settings.upstream and settings.decoder == "threshold":
        raise ValueError("upstream: the threshold decoder has no published schedule; set it to false")
    if settings.upstream and settings.decoder in DREAM_DECODERS and 0 < block < length:
        raise ValueError(f"upstream: the published {settings.decoder} decoder has no blocks; use block_length 0")
    if settings.approximate_cache != "none" and not block:
        raise ValueError("approximate_cache: is renewed at every block; set block_length")


class Sampler(Record):
    """How a completion is denoised; recorded in every rollout. Fields as in a recipe's rollout section."""

    decoder: Decoder = "entropy"
    temperature: Temperature
    top_p: TopP
    top_k: CountOrNone = 0
    decoder_temperature: Temperature = 0.0
    denoising_steps: Count
    completion_length: Count
    block_length: CountOrNone = 0
    threshold: Threshold = 0.9
    upstream: bool = False
    approximate_cache: Literal["none", "prefix", "dual"] = "none"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_sampler(self)
        return self

    @property
    def approximate(self) -> bool:
        """Whether rollouts differ from one-step-at-a-time decoding with full forward passes."""
        return self.decoder == "threshold" or self.approximate_cache != "none"


class Purpose(StrEnum):
    TRAIN = "train"
    EVALUATION = "evaluation"


class NoiseKey(NamedTuple):
    """Keys the counter-based randomness of one completion (:func:`common.rng.stream`)."""

    seed: int
    purpose: str
    indices: tuple[int, ...]


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

    def noise_key(self, sample: int) -> NoiseKey:
        """The key of the randomness of completion ``sample``."""
        return NoiseKey(self.seed, f"noise-{self.purpose}", (self.evaluation, self.index, sample))


class Rollout(Record):
    """One completion.

    ``step_map[k]`` is the denoising step that committed position k. For its token at that step, ``logprobs[k]`` is
    the log-probability under the sampler (temperature, top-p, top-k) and ``model_logprobs[k]`` the model's own, at
    temperature 1 and unfiltered. ``end`` is the index of the first token that ends the text, or the completion
    length; what comes after is defined, not sampled: padding, step -1, log-probability 0. ``overwritten`` lists
    what had been committed there, as (position, token, step): later steps saw it. ``forwards`` counts the forward
    passes that the completion took; ``versions`` are those of the weights at its first and its last one.
    ``sampling_logprobs``, where staleness is corrected for, are the learner's estimates of the token likelihoods
    under the weights of the last pass, for the masks of its first inner iteration.
    """

    sample: int
    completion_ids: tuple[int, ...]
    text: str
    end: int
    step_map: tuple[int, ...]
    logprobs: tuple[float, ...]
    model_logprobs: tuple[float, ...]
    overwritten: tuple[tuple[int, int, int], ...] = ()
    forwards: int
    versions: tuple[int, int]
    sampling_logprobs: tuple[float, ...] = ()

    @property
    def text_tokens(self) -> int:
        """Committed tokens of the text, the one that ends it included."""
        return min(self.end + 1, len(self.completion_ids))


class RolloutGroup(Record):
    """The completions of one prompt group; ``version`` is the oldest weights that any of them started from."""

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
    nor in the loss, and ``reward`` is 0 only as a placeholder. ``forgeable``: the tests ran in the program's own
    process, which could have made them pass.
    """

    reward: float
    components: dict[str, float]
    verdicts: tuple[Verdict, ...]
    masked: bool = False
    forgeable: bool = False

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
