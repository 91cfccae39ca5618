"""Errors whose message is for the user. Anything else is a bug and shows its traceback."""

from __future__ import annotations

from common.config import ConfigError
from common.models.families import ModelError
from common.streams import StreamError
from common.tasks.loader import TaskFileError
from learner.checkpoints import CheckpointError
from orchestrator.evaluator import RunDeadlineError
from orchestrator.fleet.cluster import ClusterError
from orchestrator.fleet.health import TooManyRestartsError
from orchestrator.fleet.learner_group import LearnerDiedError
from rollout_workers.requests import RequestError
from sandbox.types import SandboxUnavailable

#: The user can mend these before starting again.
MENDABLE = (
    ConfigError,
    ModelError,
    StreamError,
    TaskFileError,
    CheckpointError,
    ClusterError,
    RequestError,
    SandboxUnavailable,
)

#: The run met these on its way and could not go on.
GAVE_UP = (TooManyRestartsError, LearnerDiedError, RunDeadlineError)
