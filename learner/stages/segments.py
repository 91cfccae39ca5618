"""The unit that the supervised stages train on: a document, or the part of one that a sequence holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Segment:
    """Tokens within which attention runs: nothing of other segments is seen, and positions count from 0.

    ``ids`` [l]; the first ``prompt`` of them are what an example of supervised fine-tuning asks, template
    included, and the last ``padding`` are pad tokens; both are 0 for a document.
    ``key``: (source, document, epoch, first token), which keys all that is drawn for the segment.
    """

    ids: npt.NDArray[np.int64]
    key: tuple[int, int, int, int]
    prompt: int = 0
    padding: int = 0

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class StageReport:
    """Result of an optimizer step of a stage: the steps so far, and flat metrics."""

    version: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class CorpusPosition:
    """How far a run has read: tokens, and passes over each source in the order of ``data.sources``."""

    tokens: int
    epochs: tuple[float, ...]
