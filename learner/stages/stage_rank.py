"""A DeepSpeed rank of a supervised stage as a Ray actor."""

from __future__ import annotations

from pathlib import Path

from common.config import StageConfig
from learner.checkpoints import load_progress
from learner.deepspeed_rank import DeepSpeedRank
from learner.stages.corpus import Corpus
from learner.stages.progress import StageProgress
from learner.stages.segments import StageReport
from learner.stages.stage_loop import StageLoop


class StageRank(DeepSpeedRank):
    """Rank ``rank`` of a stage. Call :meth:`start` on all ranks together, and every other method likewise.

    ``model``: the starting model, by its folder or name. ``data``: the folder of the prepared corpus.
    """

    def __init__(self, config: StageConfig, run_id: str, model: str, data: Path, rank: int) -> None:
        super().__init__(config, run_id, rank)
        # torch and DeepSpeed: not for the process that only starts this actor.
        from learner.stages.engine import load_engine

        self._load = load_engine
        self._config = config
        self._model = model
        self._data = data

    def start(self, rendezvous: tuple[str, int], checkpoint: Path | None) -> int:
        """Join the process group, build the engine, and restore ``checkpoint``. Returns the steps done.

        Raises CheckpointError for one that was trained on other data.
        """
        self._member.join(rendezvous)
        config = self._config
        self._corpus = Corpus.open(self._data, config)
        self._engine = self._load(self._model, config, self._member)
        progress = StageProgress()
        if checkpoint is not None:
            progress = load_progress(checkpoint, StageProgress)
            progress.check(self._corpus)
            self._engine.load(checkpoint)
        self._loop = StageLoop(
            progress.version,
            self._corpus,
            self._engine,
            save_checkpoint=self._member.saver(self._engine),
        )
        return progress.version

    def step(self, checkpoint: bool) -> StageReport | None:
        """Take one optimizer step, with ``checkpoint`` after a checkpoint of those before; rank 0 reports."""
        report = self._loop.step(checkpoint)
        seconds = ("seconds/forward_backward", "seconds/optimizer", "seconds/checkpoint")
        self._telemetry.count("worker/busy", sum(report.metrics[name] for name in seconds))
        return report if self._rank == 0 else None

    def evaluate(self) -> dict[str, float]:
        """Return the held-out losses of the current weights."""
        return self._engine.evaluate(self._corpus.held_out(self._config.evaluation.sequences))

    def checkpoint(self) -> None:
        """Write a checkpoint, unless the last one holds all that was trained."""
        self._loop.checkpoint()

    def export(self, folder: Path) -> None:
        """Write a Hugging Face folder of the current weights; rank 0 writes."""
        self._member.export(self._engine, self._model, folder)
