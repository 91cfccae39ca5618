"""Partition the samples of an update into ranks and micro-batches.

Pure and the same on every rank: nothing of it may change a gradient, only the time and memory that it takes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from common.likelihood.views import Estimator, Text, Views
from learner.samples import TrainingSample


@dataclass(frozen=True)
class Piece:
    """Some of a sample's views: ``views`` are their numbers. An ``idle`` piece has no part in the loss.

    ``blank`` counts the views that show the prompt and nothing of the completion: the model sees the same in those
    of all samples of a prompt.
    """

    sample: TrainingSample
    views: tuple[int, ...]
    idle: bool = False
    blank: int = field(default=0, compare=False)


#: Pieces that must be in one pass, and micro-batches of them.
Unit = tuple[Piece, ...]
MicroBatch = tuple[Piece, ...]


def units(
    linked: Sequence[Sequence[TrainingSample]],
    estimator: Estimator,
    seed: int,
    by_token: bool,
    by_draw: bool = False,
) -> list[Unit]:
    """Find the smallest parts that can be in different passes, given the samples that an objective links.

    Where the loss is a sum over tokens and no token is measured in two views, each view can be; where it is one
    over draws (:class:`Views`), the views of each draw; else the views of all linked samples stay together.
    """
    found: list[Unit] = []
    for samples in linked:
        drawn = [(sample, estimator.views(sample.key(seed, 0), sample)) for sample in samples]
        if by_token and all(_measures_once(views, sample) for sample, views in drawn):
            found += [(_piece(sample, views, [v]),) for sample, views in drawn for v in range(len(views.masks))]
        elif by_draw:
            found += [(_piece(sample, views, numbers),) for sample, views in drawn for numbers in views.of_draws()]
        else:
            found.append(tuple(_piece(sample, views, range(len(views.masks))) for sample, views in drawn))
    return found


def micro_batches(parts: Sequence[Unit], ranks: int, batch_tokens: int) -> list[list[MicroBatch]]:
    """Form the micro-batches of each rank, as many for every rank: backward passes are collective.

    Ranks get about the same number of tokens, and the samples of a prompt together, as far as that allows. Micro-
    batches hold parts of like length up to ``batch_tokens``, one part at least; what the samples of a prompt share
    counts once. A rank with fewer gets idle ones: one view of which nothing is measured.
    """
    idle = (Piece(parts[0][0].sample, (0,), idle=True),)
    return [
        [tuple(piece for number in batch for piece in parts[number]) or idle for batch in share]
        for share in partition([_size(part) for part in parts], ranks, batch_tokens)
    ]


def tokens_of(batch: Sequence[Piece]) -> int:
    """Count the tokens that the model sees in a micro-batch."""
    return _tokens([_size((piece,)) for piece in batch])


@dataclass(frozen=True)
class Size:
    """Tokens of a part: its own, and ``shared`` ones that all parts with its ``key`` need once a micro-batch."""

    own: int
    shared: int = 0
    key: Hashable = None


def partition(sizes: Sequence[Size], ranks: int, batch_tokens: int) -> list[list[list[int]]]:
    """Form the micro-batches of each rank, given the size of each part: they list the numbers of parts.

    As :func:`micro_batches` says; idle ones are empty.
    """
    order = sorted(range(len(sizes)), key=lambda part: -(sizes[part].own + sizes[part].shared))
    shares = _Shares(sizes, ranks)
    # Largest first, each to the rank with the least; what shares tokens goes as one, up to a micro-batch.
    blocks = _batches(sizes, order, batch_tokens, apart=True)
    for block in sorted(blocks, key=lambda block: -_tokens([sizes[part] for part in block])):
        shares.give(block)
    shares.even_out()
    place = {part: number for number, part in enumerate(order)}
    batches = [_batches(sizes, sorted(share, key=place.__getitem__), batch_tokens) for share in shares.parts]
    most = max(map(len, batches))
    return [mine + [[] for _ in range(most - len(mine))] for mine in batches]


class _Shares:
    """The parts of each rank, and their tokens if each rank computed them in one pass."""

    def __init__(self, sizes: Sequence[Size], ranks: int) -> None:
        self.parts: list[list[int]] = [[] for _ in range(ranks)]
        self._sizes = sizes
        self._loads = np.zeros(ranks, dtype=np.int64)

    def give(self, block: Sequence[int]) -> None:
        """Give parts to the rank with the fewest tokens."""
        rank = int(self._loads.argmin())
        self.parts[rank] += block
        self._loads[rank] += _tokens([self._sizes[part] for part in block])

    def even_out(self) -> None:
        """Move parts one by one from the rank with the most tokens to the one with the fewest, while it helps."""
        while True:
            most, least = int(self._loads.argmax()), int(self._loads.argmin())
            moved = self.parts[most][-1]
            less = self._load(self.parts[most][:-1])
            more = self._load([*self.parts[least], moved])
            if max(less, more) >= self._loads[most]:
                return
            self.parts[least].append(self.parts[most].pop())
            self._loads[most], self._loads[least] = less, more

    def _load(self, parts: Sequence[int]) -> int:
        return _tokens([self._sizes[part] for part in parts])


def _batches(sizes: Sequence[Size], parts: Sequence[int], limit: int, apart: bool = False) -> list[list[int]]:
    """Cut parts, in their order, into batches of at most ``limit`` tokens, or of one part.

    ``apart``: parts are together only where they share tokens.
    """
    batches: list[list[int]] = []
    room, keys = 0, set[Hashable]()
    for part in parts:
        size = sizes[part]
        known = size.key is not None and size.key in keys
        needed = size.own if known else size.own + size.shared
        if not batches or needed > room or (apart and not known):
            batches.append([])
            room, keys, needed = limit, set(), size.own + size.shared
        batches[-1].append(part)
        keys.add(size.key)
        room -= needed
    return batches


def _tokens(sizes: Sequence[Size]) -> int:
    shared = {size.key: size.shared for size in sizes if size.shared}
    return sum(size.own for size in sizes) + sum(shared.values())


def _piece(sample: TrainingSample, drawn: Views, numbers: Iterable[int]) -> Piece:
    views = tuple(numbers)
    blank = drawn.masks[list(views)].all(1)
    if drawn.prompt_masks is not None:
        blank &= ~drawn.prompt_masks[list(views)].any(1)
    return Piece(sample, views, blank=int(blank.sum()))


def _size(part: Unit) -> Size:
    own = shared = 0
    for piece in part:
        length = len(piece.sample.prompt_ids) + len(piece.sample.completion_ids)
        own += (len(piece.views) - piece.blank) * length
        shared = length if piece.blank else shared
    # All samples of a part are of one group, and so of one prompt.
    sample = part[0].sample
    return Size(own, shared, (sample.prompt_ids, len(sample.completion_ids)) if shared else None)


def _measures_once(views: Views, text: Text) -> bool:
    return bool((views.measured(text).sum(0) <= 1).all())
