"""Which logits a process has of a row: those of all tokens, or of the part that is its tensor-parallel rank's.

Whatever is decided about a row depends on all of them. The parts tell each other a few numbers a row, by one
operation: gather. Every rank then does the same arithmetic on the same numbers in the same order, so that all get
the same result to the last bit and go on in lock-step, whatever the transport.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch.distributed as dist
from torch import Tensor


class Ranks(Protocol):
    """The processes that have the parts of a vocabulary, seen from one of them."""

    @property
    def rank(self) -> int:
        """The place of this process among them, from 0."""

    def gather(self, tensor: Tensor) -> Tensor:
        """Stack the tensors of all ranks, which have one shape [*] and type, in the order of ranks: [R, *]."""


@dataclass(frozen=True)
class GroupRanks:
    """The ranks of a torch.distributed process group, whose timeout is that of every gather."""

    group: dist.ProcessGroup

    @property
    def rank(self) -> int:
        return self.group.rank()

    def gather(self, tensor: Tensor) -> Tensor:
        gathered = tensor.new_empty(self.group.size(), *tensor.shape)
        dist.all_gather(list(gathered.unbind()), tensor.contiguous(), group=self.group)
        return gathered


@dataclass(frozen=True)
class Vocabulary:
    """``total`` tokens, of which this process has the logits of ``size``: all, or, with ``ranks``, a part.

    Every rank has as many columns; rank r has those of the tokens from ``r * size`` on. Columns behind the last
    token are padding, where logits are -inf; the last ranks may have nothing else.
    """

    total: int
    size: int
    ranks: Ranks | None = None

    @classmethod
    def whole(cls, total: int) -> Vocabulary:
        """Describe a vocabulary of which this process has every logit."""
        return cls(total, total)

    @property
    def is_whole(self) -> bool:
        """Whether this process has the logits of all tokens."""
        return self.ranks is None

    @property
    def rank(self) -> int:
        """The place of this process among the ranks, 0 where it is alone."""
        return 0 if self.ranks is None else self.ranks.rank

    @property
    def first(self) -> int:
        """The id of this process's first token."""
        return self.rank * self.size

    def columns_never_predicted(self, forbidden: Iterable[int]) -> list[int]:
        """List this process's columns of ``forbidden`` tokens and of padding: their logits must be -inf."""
        here = range(self.first, self.first + self.size)
        never = [token for token in forbidden if token in here]
        return [token - self.first for token in (*never, *range(max(self.first, self.total), here.stop))]

    def gather(self, tensor: Tensor) -> Tensor:
        """Stack the tensors [*] of all parts in the order of their tokens: [R, *]."""
        return tensor.unsqueeze(0) if self.ranks is None else self.ranks.gather(tensor)

    def max(self, tensor: Tensor) -> Tensor:
        """Take the largest over the parts, element by element; nan where one has nan."""
        return tensor if self.is_whole else self.gather(tensor).amax(0)

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over the parts, element by element."""
        return tensor if self.is_whole else self.gather(tensor).sum(0)

    def logsumexp(self, tensor: Tensor) -> Tensor:
        """Compute the logarithm of the parts' summed exponentials, element by element."""
        return tensor if self.is_whole else self.gather(tensor).logsumexp(0)

    def top(self, table: Tensor, count: int) -> Tensor:
        """Find the ``count`` largest of each row, given this process's columns [n, size]: [n, count], falling."""
        here = table.topk(min(count, self.size)).values
        return here if self.is_whole else self.gather(here).movedim(0, 1).flatten(1).topk(count).values

    def pick(self, values: Tensor, owners: Tensor) -> Tensor:
        """Take each row's value [n] from the part that is its ``owners`` [n]."""
        return values if self.is_whole else self.gather(values).gather(0, owners.unsqueeze(0)).squeeze(0)

    def join(self, table: Tensor) -> Tensor:
        """Put the columns [n, size] of all parts side by side, without padding: [n, total]."""
        return table if self.is_whole else self.gather(table).movedim(0, 1).flatten(1)[:, : self.total]
