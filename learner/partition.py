"""Partition the samples of an update into ranks and micro-batches.

Pure and the same on every rank: nothing of it may change a gradient, only the time and memory that it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.likelihood.views import Estimator, Text, Views
from learner.samples import TrainingSample


@dataclass(frozen=True)
class Piece:
    """Some of a sample's views: ``views`` are their numbers. An ``idle`` piece has no part in the loss."""

    sample: TrainingSample
    views: tuple[int, ...]
    idle: bool = False


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
            found += [(Piece(sample, (v,)),) for sample, views in drawn for v in range(len(views.masks))]
        elif by_draw:
            found += [(Piece(sample, numbers),) for sample, views in drawn for numbers in views.of_draws()]
        else:
            found.append(tuple(Piece(sample, tuple(range(len(views.masks)))) for sample, views in drawn))
    return found


def micro_batches(parts: Sequence[Unit], ranks: int, batch_tokens: int) -> list[list[MicroBatch]]:
    """Form the micro-batches of each rank, as many for every rank: backward passes are collective.

    Ranks get about the same number of tokens (largest first, each to the rank with the least). Micro-batches hold
    parts of like length up to ``batch_tokens``, one part at least. A rank with fewer gets idle ones: one view of
    which nothing is measured.
    """
    sizes = [sum(_tokens(piece) for piece in part) for part in parts]
    idle = (Piece(parts[0][0].sample, (0,), idle=True),)
    return [
        [tuple(piece for number in batch for piece in parts[number]) or idle for batch in share]
        for share in partition(sizes, ranks, batch_tokens)
    ]


def partition(sizes: Sequence[int], ranks: int, batch_tokens: int) -> list[list[list[int]]]:
    """Form the micro-batches of each rank, given the tokens of each part: they list the numbers of parts.

    As :func:`micro_batches` says; idle ones are empty.
    """
    shares: list[list[int]] = [[] for _ in range(ranks)]
    loads = np.zeros(ranks, dtype=np.int64)
    for part in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        rank = int(loads.argmin())
        shares[rank].append(part)
        loads[rank] += sizes[part]
    batches: list[list[list[int]]] = []
    for share in shares:
        batches.append([])
        room = 0
        for part in share:
            if sizes[part] > room:
                batches[-1].append([])
                room = batch_tokens
            batches[-1][-1].append(part)
            room -= sizes[part]
    most = max(map(len, batches))
    return [mine + [[] for _ in range(most - len(mine))] for mine in batches]


def _tokens(piece: Piece) -> int:
    return len(piece.views) * (len(piece.sample.prompt_ids) + len(piece.sample.completion_ids))


def _measures_once(views: Views, text: Text) -> bool:
    return bool((views.measured(text).sum(0) <= 1).all())
