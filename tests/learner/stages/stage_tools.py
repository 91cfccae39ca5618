"""Segments and configurations for the tests of the supervised stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common import rng
from common.config import StageConfig
from learner.stages.segments import Segment
from tests.learner.learner_tools import END_ID, VOCABULARY

CONTEXT = 24
SEED = 5


def stage_config(stage: str = "adapt", **sections: Mapping[str, Any]) -> StageConfig:
    given = {
        "stage": stage,
        "run": {"seed": SEED},
        "model": {"path": "builtin:quickstart"},
        "data": {"sources": ["builtin:stdlib"], "context_length": CONTEXT},
    }
    return StageConfig.model_validate(given | sections)


def documents(step: int = 0, lengths: Sequence[int] = (9, 1, CONTEXT, 2, 9, 13, 5, 17)) -> list[Segment]:
    """Documents, or parts of them, of the given lengths."""
    return [
        Segment(_tokens(length, step, number), (0, 10 * step + number, 0, 3 * number))
        for number, length in enumerate(lengths)
    ]


def examples(step: int = 0, padding: bool = True) -> list[Segment]:
    """Examples of prompts and answers of different lengths, with or without pads."""
    found = []
    for number, (prompt, answer) in enumerate(((3, 4), (8, 2), (5, 11), (1, 6), (10, 1))):
        pads = CONTEXT - prompt - answer if padding else 0
        ids = np.concatenate([_tokens(prompt + answer, step, number), np.full(pads, END_ID)])
        found.append(Segment(ids, (1, 10 * step + number, 0, 0), prompt, pads))
    return found


def _tokens(length: int, step: int, number: int) -> Any:
    return rng.stream(1, "test segments", step, number).integers(2, VOCABULARY, length)
