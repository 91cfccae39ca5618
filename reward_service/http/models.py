"""The bodies of ``POST /v1/score``, and the one shape of every error."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from common.records import Task, Verdict

#: Characters of a completion: programs are looked for in one text after the other.
MAX_COMPLETION = 1_000_000


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DecodingRequest(_Closed):
    """How a completion was decoded."""

    tokens: Annotated[int, Field(ge=0)]
    """Tokens of its text, the one that ends it included."""
    forwards: Annotated[int, Field(ge=1)]
    """Forward passes taken."""


class GroupRequest(_Closed):
    """Completions of one task."""

    id: str
    """Names the group in the answer; anything that no other group of the batch has."""
    task: Task
    completions: Annotated[
        list[Annotated[str, Field(max_length=MAX_COMPLETION)]], Field(min_length=1, fail_fast=True)
    ]
    """What the model wrote, up to its end of text; a million characters each at most."""
    decodings: Annotated[list[DecodingRequest], Field(fail_fast=True)] | None = None
    """One a completion; the reward ``tokens_per_forward`` needs them."""

    @model_validator(mode="after")
    def _decodings_fit(self) -> Self:
        if self.decodings is not None and len(self.decodings) != len(self.completions):
            raise ValueError(
                f"decodings: {len(self.decodings)} for {len(self.completions)} completions; give one a completion"
            )
        return self


class ScoreRequest(_Closed):
    """A batch.

    Its lists are refused at their first bad item: telling of millions would hold up every other request.
    """

    groups: Annotated[list[GroupRequest], Field(min_length=1, fail_fast=True)]
    deadline_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds from now; what is not scored by then is excluded. The service has an upper limit of its own."""

    @field_validator("groups")
    @classmethod
    def _ids_differ(cls, groups: list[GroupRequest]) -> list[GroupRequest]:
        seen: set[str] = set()
        for group in groups:
            if group.id in seen:
                raise ValueError(f"two have the id {group.id!r}; give each its own")
            seen.add(group.id)
        return groups


class SampleScore(_Closed):
    """The reward of one completion.

    ``excluded``: a test ended in ``infra`` or a reward is unknown, so ``reward`` is a placeholder that must not be
    trained on; ``reason`` says why. ``forgeable``: the tests ran in the program's own process. ``notes``: a line
    on each test that did not pass; a program may have written it.
    """

    reward: float
    components: dict[str, float]
    verdicts: tuple[Verdict, ...]
    excluded: bool
    reason: str | None = None
    forgeable: bool
    notes: tuple[str, ...]


class GroupLine(_Closed):
    """One line of the answer: the group's scores in the order of its completions, or why it has none."""

    id: str
    scores: list[SampleScore] | None = None
    error: str | None = None


class Summary(_Closed):
    """``excluded`` counts completions, ``errors`` groups; ``late``: the deadline came before the last score."""

    groups: int
    completions: int
    excluded: int
    errors: int
    late: bool
    deadline_s: float
    seconds: float


class SummaryLine(_Closed):
    """The last line. An answer without it was cut short."""

    summary: Summary


class ErrorBody(_Closed):
    """``type`` is for programs, ``message`` for people; ``field`` is the path in the request that is wrong."""

    type: str
    message: str
    field: str | None = None


class ErrorAnswer(_Closed):
    """A refusal."""

    error: ErrorBody
