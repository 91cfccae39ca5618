"""The bugs, one file a room."""

from __future__ import annotations

from collections.abc import Sequence

from tests.mutations.bugs import (
    common,
    learner,
    orchestrator,
    reward_service,
    rollout_workers,
    sandbox,
    stages,
    surroundings,
)
from tests.mutations.mutation import Mutation

BUGS: Sequence[Mutation] = (
    *common.BUGS,
    *rollout_workers.BUGS,
    *sandbox.BUGS,
    *reward_service.BUGS,
    *learner.BUGS,
    *stages.BUGS,
    *orchestrator.BUGS,
    *surroundings.BUGS,
)
