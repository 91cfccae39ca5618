"""Endless streams of sequences: documents joined and cut, or examples one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from learner.stages.corpus.order import EpochOrder, pieces
from learner.stages.corpus.store import StoredSource
from learner.stages.segments import Segment


@dataclass(frozen=True)
class Pool:
    """Documents, of one or several sources, read as one; ``source`` [n] and ``document`` [n] name them."""

    stored: Sequence[StoredSource]
    source: npt.NDArray[np.int64]
    document: npt.NDArray[np.int64]

    @classmethod
    def of(cls, stored: Sequence[StoredSource], chosen: Sequence[tuple[int, npt.NDArray[np.int64]]]) -> Pool:
        """Make one of (source, its documents) pairs."""
        source = np.concatenate([np.full(len(documents), number) for number, documents in chosen])
        return cls(stored, source, np.concatenate([documents for _, documents in chosen]))

    def __len__(self) -> int:
        return len(self.source)

    def lengths(self) -> npt.NDArray[np.int64]:
        """Count the tokens of each document."""
        lengths = np.empty(len(self), dtype=np.int64)
        for number, stored in enumerate(self.stored):
            here = self.source == number
            documents = self.document[here]
            lengths[here] = stored.offsets[documents + 1] - stored.offsets[documents]
        return lengths

    def part(self, member: int, epoch: int, first: int, last: int | None) -> Segment:
        """Return the tokens ``first`` to ``last`` (exclusive; None: to its end) of a document as a segment."""
        source, document = int(self.source[member]), int(self.document[member])
        stored = self.stored[source]
        prompt = max(0, int(stored.prompts[document]) - first)
        return Segment(stored.read(document, first, last), (source, document, epoch, first), prompt)


class Stream(Protocol):
    """An endless stream of sequences that any can be taken out of."""

    @property
    def epoch_sequences(self) -> float:
        """Sequences of one pass over the documents."""
        ...

    def sequence(self, number: int) -> list[Segment]:
        """Return the segments of a sequence."""
        ...

    def tokens(self, sequences: int) -> int:
        """Count the tokens of the first ``sequences``."""
        ...


class PackedStream:
    """The documents of a pool in a new order every epoch, as one row of tokens cut into sequences.

    Where an epoch ends within a sequence, the next one begins there: nothing is repeated or left out.
    """

    def __init__(self, pool: Pool, seed: int, label: int, length: int) -> None:
        self._pool = pool
        self._order = EpochOrder(pool.lengths(), seed, label)
        self._length = length

    @property
    def epoch_sequences(self) -> float:
        return self._order.tokens / self._length

    def sequence(self, number: int) -> list[Segment]:
        segments = []
        start, stop = number * self._length, (number + 1) * self._length
        while start < stop:
            number_of_epoch, within = divmod(start, self._order.tokens)
            end = min(within + stop - start, self._order.tokens)
            epoch = self._order.epoch(number_of_epoch)
            segments += [
                self._pool.part(int(epoch.documents[place]), number_of_epoch, first, last)
                for place, first, last in pieces(epoch.ends, within, end)
            ]
            start += end - within
        return segments

    def tokens(self, sequences: int) -> int:
        return sequences * self._length


class ExampleStream:
    """The examples of a pool in a new order every epoch, each of them a sequence.

    ``padding`` is (pad token, length): examples are filled up to that length with that token; None for no pads.
    """

    def __init__(self, pool: Pool, seed: int, label: int, padding: tuple[int, int] | None) -> None:
        self._pool = pool
        self._order = EpochOrder(pool.lengths(), seed, label)
        self._padding = padding

    @property
    def epoch_sequences(self) -> float:
        return float(len(self._order))

    def sequence(self, number: int) -> list[Segment]:
        number_of_epoch, within = divmod(number, len(self._order))
        member = int(self._order.epoch(number_of_epoch).documents[within])
        return [example(self._pool, member, number_of_epoch, self._padding)]

    def tokens(self, sequences: int) -> int:
        if self._padding is not None:
            return sequences * self._padding[1]
        epochs, within = divmod(sequences, len(self._order))
        begun = int(self._order.epoch(epochs).ends[within - 1]) if within else 0
        return epochs * self._order.tokens + begun


def packed(pool: Pool, length: int, count: int) -> list[Segment]:
    """Join the documents of a pool in their order and cut off ``count`` sequences; fewer where there are fewer."""
    ends = np.cumsum(pool.lengths())
    stops = [min((number + 1) * length, int(ends[-1])) for number in range(count)]
    return [
        pool.part(place, 0, first, last)
        for number, stop in enumerate(stops)
        for place, first, last in pieces(ends, number * length, stop)
    ]


def example(pool: Pool, member: int, epoch: int, padding: tuple[int, int] | None) -> Segment:
    """Return an example of a pool, filled up as ``padding`` (pad token, length) says."""
    whole = pool.part(member, epoch, 0, None)
    if padding is None:
        return whole
    pad, length = padding
    pads = np.full(length - len(whole), pad, dtype=np.int64)
    return Segment(np.concatenate([whole.ids, pads]), whole.key, whole.prompt, len(pads))
