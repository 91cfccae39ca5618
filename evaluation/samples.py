"""A completion in an evaluation, as a line of samples.jsonl."""

from __future__ import annotations

from collections import Counter

from pydantic import BaseModel, ConfigDict

from common.records import Task, Verdict
from evaluation.completers.interface import Completed, TokenConfidence
from reward_service.results import Scored

_PASSED = (Verdict.PASSED, Verdict.SKIPPED)


class Sample(BaseModel):
    """What a model wrote for a task, how, and what its tests say.

    ``cell`` (by its name), ``benchmark``, ``index`` (the task's place among those that were evaluated) and
    ``sample`` tell completions apart. ``text`` is the whole answer, with what the prompt began of it;
    ``token_ids`` are the model's own. ``passed``: all tests. ``excluded``: nothing is known of it, since the
    sandbox failed, or because of ``error``.
    ``verdicts`` counts tests by verdict, and ``failure`` says why the first one failed.
    ``confidence`` is ``None`` of a causal model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: str
    benchmark: str
    task_id: str
    index: int
    sample: int
    passed: bool
    excluded: bool
    error: str = ""
    verdicts: dict[str, int] = {}
    failure: str = ""
    text: str
    ended: bool
    forwards: int
    token_ids: tuple[int, ...]
    executed_step_map: tuple[int, ...]
    confidence: TokenConfidence | None = None

    @property
    def unscored(self) -> bool:
        """Whether the sandbox failed on it, which it may not do again."""
        return self.excluded and not self.error

    @property
    def place(self) -> tuple[int, int]:
        """The task's index, and the number of the sample."""
        return self.index, self.sample

    @property
    def step_map(self) -> tuple[int, ...]:
        """The forward pass that committed each token of the text, the one that ends it included."""
        return self.executed_step_map[: len(self.token_ids)]


def make_sample(
    cell: str, benchmark: str, task: Task, text: str, completed: Completed, scored: Scored | None, error: str = ""
) -> Sample:
    """Put together what is known of a completion; it is excluded where it was not ``scored``."""
    index, number = completed.place
    tests = () if scored is None else scored.tests
    failed = next((test for test in tests if test.verdict not in _PASSED), None)
    return Sample(
        cell=cell,
        benchmark=benchmark,
        task_id=task.id,
        index=index,
        sample=number,
        passed=scored is not None and scored.score.passed,
        excluded=scored is None or scored.score.excluded,
        error=error,
        verdicts=dict(Counter(test.verdict.value for test in tests)),
        failure="" if failed is None else f"{failed.verdict.value}: {failed.note}".removesuffix(": "),
        text=text,
        ended=completed.ended,
        forwards=completed.forwards,
        token_ids=completed.token_ids,
        executed_step_map=completed.executed_step_map,
        confidence=completed.confidence,
    )
