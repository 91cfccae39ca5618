"""Every record that crosses a process boundary.

Records are frozen, versioned pydantic models. On the wire they are msgpack maps, never pickle; a message
that does not validate is a :class:`RecordError`, and its reader sends it to the dead-letter stream.

A *group* (one task, G completions) is the unit everywhere:

    PromptGroup  --rollout worker-->  RolloutGroup  --reward worker-->  TrajectoryGroup  --learner-->  weights
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import msgpack
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from common.language import Language
from common.numbers import LARGEST_COUNT, not_a_boolean
from common.program_files import ProgramFiles
from common.sampler import SamplerFields


class RecordError(ValueError):
    """The bytes are not a valid record of the expected kind and version."""


class Record(BaseModel):
    """Base of the wire records: frozen, closed, and tagged with a schema version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    SCHEMA: ClassVar[int] = 7

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


Comparison = Literal["equal", "identical", "close", "as_set", "presence", "contest", "contest_item"]


class TestCase(Record):
    """One test of a task. What is expected stays on the host and never enters the solution's process.

    - ``call``: the Python expression ``call`` over the program's names must have the value ``expected``, a
      literal.
    - ``stdin``: the program is fed ``stdin`` and must print ``expected``.
    - ``script``: Python source that raises unless the solution is right (asserts, ``check(candidate)``, unittest).
      It runs in a process of its own, after the task's ``test_setup``, and reaches the solution by the task's
      ``exports``.

    ``expected`` None, of ``call`` and ``stdin``, means: what the task's reference gives. ``comparison`` of
    ``call``: Python's ``==``; ``identical``, the same and of one type, as ``is True`` asks; ``close``, equal up to
    ``tolerance`` wherever a number stands (also of ``stdin``), and a little more where that is a fraction;
    ``as_set``, the same elements; ``presence``, both None or neither; ``contest``, as judges of contests compare
    (also of ``stdin``): data as JSON has it, and numbers by value; ``contest_item``, the same, and where a list of
    one item is expected, the item will do.

    ``files`` are in the program's folder when it starts, text by name; afterwards, those of ``expected_files``
    must be there, compared as printed text is. Neither of ``script``.
    """

    __test__: ClassVar[bool] = False  # not a pytest class

    kind: Literal["call", "stdin", "script"] = "call"
    call: str = ""
    stdin: str = ""
    script: str = ""
    expected: str | None = None
    comparison: Comparison = "equal"
    tolerance: Annotated[float, BeforeValidator(not_a_boolean), Field(ge=0, allow_inf_nan=False)] = 0.0
    # A default of its own would be copied for each test, which takes longer than all else that is checked.
    files: ProgramFiles = Field(default_factory=dict)
    expected_files: ProgramFiles = Field(default_factory=dict)


class Task(Record):
    """A programming task: a prompt for the model and tests for its completion.

    ``completion`` says what the model writes: ``continuation`` is appended to ``prefix`` as it is (the prefix
    is usually the prompt itself), ``fenced`` is a chat answer with one fenced Python block. Of an answer with
    ``assert entry_point(...) == value``, ``asserted_call`` and ``asserted_value`` append one side to ``prefix``.

    ``suffix`` is what stands behind the completion. ``reference``, a right solution, stands between them: the
    whole program is ``prefix + reference + suffix``, in ``language``.
    ``test_setup`` runs before every script test, where the tests run; ``exports`` are the names of the solution
    that tests may use. ``in_process``: the scripts need the solution's very objects, so they run in its process
    and their verdicts are forgeable. The first ``shown_tests`` tests are part of the prompt. ``metadata``: columns
    of its row that no test needs, for reward functions.
    """

    id: str
    family: str = ""
    prompt: str
    prefix: str = ""
    suffix: str = ""
    language: Language = "python"
    completion: Literal["continuation", "fenced", "asserted_call", "asserted_value"] = "continuation"
    entry_point: str | None = None
    #: Refused at the first bad one: a message about each of thousands is of no use.
    tests: Annotated[tuple[TestCase, ...], Field(fail_fast=True)]
    test_setup: str = ""
    exports: tuple[str, ...] = ()
    in_process: bool = False
    shown_tests: Annotated[int, BeforeValidator(not_a_boolean), Field(ge=0, le=LARGEST_COUNT)] = 0
    reference: str | None = None
    metadata: dict[str, JsonValue] = {}


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


class Sampler(SamplerFields, Record):
    """How a completion is denoised; recorded in every rollout."""

    @property
    def approximate(self) -> bool:
        """Whether rollouts differ from one-step-at-a-time decoding with full forward passes."""
        return self.decoder == "threshold" or self.remembers


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


#: Step recorded for positions that no step committed, because the text ended before them.
NOT_COMMITTED = -1


class Mismatch(Record):
    """How far approximate distributions were from the exact ones at the ``tokens`` that were measured.

    ``log_ratio`` is the sum of log p_exact - log p_approximate of these tokens, and ``kl`` that of the divergences
    KL(approximate || exact) of the distributions they were drawn from: of the model at temperature 1, in nats.
    """

    tokens: int = 0
    log_ratio: float = 0.0
    kl: float = 0.0

    def __add__(self, other: Mismatch) -> Mismatch:
        return Mismatch(
            tokens=self.tokens + other.tokens, log_ratio=self.log_ratio + other.log_ratio, kl=self.kl + other.kl
        )


class Completion(Record):
    """The L tokens that an engine wrote after a prompt, and how.

    ``end`` is the index of the first token that ends the text, or L. ``step_map`` [L] says which denoising step
    committed each position. For its token at that step, ``logprobs`` [L] are the log-probabilities under the
    sampler (temperature, top-p, top-k; 0 where it is greedy) and ``model_logprobs`` [L] the model's own, at
    temperature 1 and unfiltered. What comes after the end is defined, not sampled: padding, step -1,
    log-probability 0; ``overwritten`` lists what had been committed there, as (position, token, step): later
    steps saw it. ``forwards`` counts the forward passes taken; ``versions`` are those of the weights at the
    first and the last one. ``mismatch`` is what the exact passes found that an approximate sampler ran beside its
    own, tokens after the end included; of no tokens where there were none.
    """

    completion_ids: tuple[int, ...]
    end: int
    step_map: tuple[int, ...]
    logprobs: tuple[float, ...]
    model_logprobs: tuple[float, ...]
    overwritten: tuple[tuple[int, int, int], ...] = ()
    forwards: int
    versions: tuple[int, int]
    mismatch: Mismatch = Mismatch()

    @property
    def text_tokens(self) -> int:
        """Committed tokens of the text, the one that ends it included."""
        return min(self.end + 1, len(self.completion_ids))

    @property
    def executed_step_map(self) -> tuple[int, ...]:
        """The step [L] at which each position was committed, also after the end of the text; -1 for none."""
        steps = list(self.step_map)
        for position, _, step in self.overwritten:
            steps[position] = step
        return tuple(steps)


class Rollout(Completion):
    """A completion as number ``sample`` of its group, and ``text``, the whole answer: what the prompt began of it
    (``data.answer_prefix``), and the tokens up to the end.

    ``sampling_logprobs`` [L], where staleness is corrected for, are the learner's estimates of the token
    likelihoods under the weights of the last forward pass, for the masks of its first inner iteration.
    """

    sample: int
    text: str
    sampling_logprobs: tuple[float, ...] = ()


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
    """The reward of one completion and what it is made of: the sum of ``components`` times ``weights``, by name.

    ``excluded`` is set when a test ended in ``infra`` or a reward is unknown, and ``reason`` says why: the sample
    then counts neither in the group's baseline nor in the loss, and ``reward`` is 0 only as a placeholder.
    ``forgeable``: the tests ran in the program's own process, which could have made them pass.
    """

    reward: float
    components: dict[str, float]
    weights: dict[str, float] = {}
    verdicts: tuple[Verdict, ...]
    excluded: bool = False
    reason: str = ""
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
