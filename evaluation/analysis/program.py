"""One completion, as it was written: its tokens, and when each position was committed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import UserError
from evaluation.samples import Sample

_NAMED = 8


@dataclass(frozen=True)
class Program:
    """A completion step by step. Steps that commit something are numbered from 1; 0 stands for never.

    ``tokens`` are those of the text, each with its step; ``positions`` [L] has the steps of all positions, those
    behind the end of the text included. ``tokens`` is empty where the model's tokenizer is not at hand.
    """

    label: str
    task_id: str
    verdict: str
    cell: str
    steps: int
    tokens: tuple[tuple[str, int], ...]
    positions: tuple[int, ...]


def program_of(sample: Sample, label: str, tokenizer: Any | None) -> Program:
    """Make a program of a sample; ``tokenizer`` says what its tokens are."""
    numbers = _numbered(sample.executed_step_map)
    texts = [] if tokenizer is None else [tokenizer.decode([token]) for token in sample.token_ids]
    return Program(
        label=label,
        task_id=sample.task_id,
        verdict="no verdict" if sample.excluded else "passed" if sample.passed else "failed",
        cell=sample.cell,
        steps=max(numbers, default=0),
        tokens=tuple(zip(texts, numbers, strict=False)),
        positions=numbers,
    )


def same_task(examples: Sequence[Mapping[int, Sample]], task_id: str | None) -> int | None:
    """Pick the task whose completions are drawn, by its place in the benchmark.

    That is ``task_id``, where one of ``examples``, by task for each model, has it. Otherwise it is the first of
    those that most models have, and of these most have passed. ``None`` where there are no examples.
    """

    def rank(index: int) -> tuple[bool, int, int, int]:
        there = [one[index] for one in examples if index in one]
        asked_for = any(sample.task_id == task_id for sample in there)
        return not asked_for, -len(there), -sum(sample.passed for sample in there), index

    return min({index for one in examples for index in one}, key=rank, default=None)


def check_task(examples: Iterable[Mapping[int, Sample]], task_id: str) -> None:
    """Raise UserError for a task that no example is of."""
    known = dict.fromkeys(sample.task_id for one in examples for sample in one.values())
    if task_id not in known:
        raise UserError(
            f"--task {task_id}: the first cell has no sample of it; among others it has those of "
            f"{', '.join(list(known)[:_NAMED])}"
        )


def _numbered(step_map: Sequence[int]) -> tuple[int, ...]:
    """Number the steps that commit something from 1; 0 where none does."""
    steps = np.asarray(step_map, dtype=np.int64)
    _, numbers = np.unique(steps, return_inverse=True)
    if not len(steps):
        return ()
    first = 1 if steps.min() >= 0 else 0  # -1 comes first where it is there
    return tuple((numbers + first).tolist())
