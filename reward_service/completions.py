"""What is asked of the judge: completions of one task, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from common.records import Task
from reward_service.extraction import program_of
from reward_service.user_rewards import Decoding
from sandbox.cancellation import Cancellation

#: Finds the program in a completion of a task, None where it holds none.
Extract = Callable[[Task, str], str | None]


@dataclass(frozen=True)
class Completions:
    """Texts that were written for ``task``, to be judged together.

    ``decodings``: how each was decoded, where that is known. ``share_s``: wall-clock seconds of a slot that are
    there for each [default: of the group's deadline]. ``cancellation``: by which to end what is under way.
    """

    task: Task
    texts: Sequence[str]
    decodings: Sequence[Decoding] | None = None
    extract: Extract = program_of
    share_s: float | None = None
    cancellation: Cancellation = field(default_factory=Cancellation)

    def programs(self) -> list[str | None]:
        """Return the program in each text, None where it holds none."""
        return [self.extract(self.task, text) for text in self.texts]
