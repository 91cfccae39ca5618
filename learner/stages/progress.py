"""How far a run of a stage is: what its checkpoints record beside the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from learner.checkpoints import CheckpointError
from learner.stages.segments import CorpusPosition


class Read(Protocol):
    """A prepared corpus, as far as progress in it goes."""

    @property
    def fingerprint(self) -> str: ...

    def position(self, steps: int) -> CorpusPosition: ...


@dataclass(frozen=True)
class StageProgress:
    """Steps done, which are the position in the data, what was read by then, and the fingerprint of the data.

    ``epochs``: passes over each source, in their order.
    """

    version: int = 0
    tokens: int = 0
    epochs: Sequence[float] = ()
    corpus: str = ""

    @classmethod
    def at(cls, version: int, corpus: Read) -> StageProgress:
        """Return the progress after ``version`` steps on a corpus."""
        position = corpus.position(version)
        return cls(version, position.tokens, position.epochs, corpus.fingerprint)

    def check(self, corpus: Read) -> None:
        """Raise CheckpointError for a corpus that is not the one that these steps were trained on."""
        if self.corpus != corpus.fingerprint:
            raise CheckpointError(
                f"the checkpoint of step {self.version} was trained on other data (fingerprint {self.corpus}; "
                f"that of data.sources is {corpus.fingerprint}): bring the files back, or start another run from "
                "weights that this one exported (run.folder=ANOTHER model.path=FOLDER/model)"
            )
