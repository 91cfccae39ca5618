"""What a DeepSpeed rank does with the others: they join, share, write checkpoints and export a model together."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import Store

from common.config import Config, StageConfig
from common.heartbeat import Heartbeat
from common.models import runtime
from common.models.config import ModelConfig
from common.models.folder import model_folder
from common.models.transformer import MaskedDiffusionModel
from common.records import TrajectoryGroup
from learner import process_group
from learner.checkpoints import CheckpointError, Checkpoints, Ranks, TrainingProgress
from learner.collectives import broadcast_groups
from learner.divergence import diverged
from learner.export import export_model
from learner.finite import first_not_finite
from learner.policy import Policy
from learner.preparation import prepare
from learner.resume_compatibility import recorded_settings
from learner.retention import Retention


class TrainedModel(Protocol):
    """The engine of a rank, as far as its weights are concerned."""

    @property
    def model_config(self) -> ModelConfig: ...

    def parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield names and full weights; a collective call under ZeRO-3."""

    def not_finite(self) -> str | None:
        """Return the name of a weight that is not finite, if there is one; a collective call."""

    def save(self, folder: Path) -> None:
        """Write this rank's part of a checkpoint; every rank must call it."""


class Member:
    """Rank ``rank`` among the ranks of a run. Its methods are collective calls, but for :meth:`open_store`."""

    def __init__(self, config: Config | StageConfig, rank: int, heart: Heartbeat) -> None:
        self._settings = config
        self._rank = rank
        self._heart = heart

    def open_store(self) -> int:
        """Open the store at which the ranks meet, and return its port; asked of rank 0."""
        self._store = process_group.open_store(self._timeout)
        return self._store.port

    def join(self, rendezvous: tuple[str, int]) -> None:
        """Join the process group of the ranks. Raises CheckpointError where the run's folder is not shared."""
        config = self._settings
        if not (config.folder / "run.json").exists():
            host = socket.gethostname()
            raise CheckpointError(
                f"run.folder {config.folder}: not to be seen on {host}, where rank {self._rank} runs; set it to a "
                "path that the learner's machines share with the one that runs the command"
            )

        def store() -> Store:
            return self._store if self._rank == 0 else process_group.find_store(*rendezvous, self._timeout)

        gpus = bool(config.learner.gpus_per_rank)
        process_group.join(store, self._rank, config.learner.ranks, gpus, self._timeout)

    @property
    def _timeout(self) -> timedelta:
        return timedelta(seconds=self._settings.deadlines.step_seconds * 2)

    def policy(self, model: MaskedDiffusionModel) -> Policy:
        """Make a loaded model ready for training, in place.

        Raises DivergedError where its weights are not finite.
        """
        config = self._settings
        name = first_not_finite(model.named_parameters())
        if name is not None:
            raise diverged(f"weight {name} is not finite", 0, config.folder, config.learner.optimizer)
        prepare(model, config.learner, config.run.seed)
        return Policy(model, runtime.compute_dtype(config.model), config.learner.logits_bytes)

    def saver(self, trained: TrainedModel) -> Callable[[TrainingProgress], None]:
        """Return what writes a checkpoint of a model; it raises DivergedError for weights that are not finite."""
        config = self._settings
        folder = config.folder / "checkpoints"
        checkpoints = Checkpoints(
            folder,
            Retention(config.learner.keep_checkpoints, config.learner.keep_every_steps),
            Ranks(self._rank, config.learner.ranks, dist.barrier),
            recorded_settings(config),
        )

        def save(progress: TrainingProgress) -> None:
            with self._heart.during(f"writing the checkpoint of step {progress.version}"):
                name = trained.not_finite()
                if name is not None:
                    what = f"weight {name} at step {progress.version} is not finite"
                    raise diverged(what, progress.version, folder, config.learner.optimizer)
                checkpoints.save(progress, trained.save)

        return save

    def share(self, groups: Sequence[TrajectoryGroup] | None) -> Sequence[TrajectoryGroup] | None:
        """Return what rank 0 gives, groups or None, on every rank."""
        return broadcast_groups(groups)

    def gather_along(self, trained: TrainedModel) -> None:
        """Take part in gathering the weights that rank 0 reads."""
        deque(trained.parameters(), maxlen=0)

    def export(self, trained: TrainedModel, start: str, folder: Path) -> None:
        """Write the current weights as a model folder in the format of ``start``, by its path; rank 0 writes."""
        if self._rank:
            self.gather_along(trained)
            return
        parameters = trained.parameters()
        export_model(self._settings.learner, trained.model_config, parameters, model_folder(start), folder)
