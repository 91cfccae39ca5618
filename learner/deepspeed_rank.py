"""What every DeepSpeed rank is as a Ray actor, whatever it trains on."""

from __future__ import annotations

import ray

from common.actors import WatchedActor
from common.config import Config, StageConfig
from common.telemetry import Telemetry, endpoint_host


class DeepSpeedRank(WatchedActor):
    """Rank ``rank`` of a run's DeepSpeed ranks; what they train is their subclasses'.

    Every rank gets the same calls in the same order.
    """

    def __init__(self, config: Config | StageConfig, run_id: str, rank: int) -> None:
        super().__init__(config.deadlines.step_seconds)
        # torch and DeepSpeed: not for the process that only starts this actor.
        from learner.member import Member

        self._member = Member(config, rank, self.heart)
        self._settings = config
        self._run_id = run_id
        self._rank = rank
        self._telemetry = Telemetry(
            "learner", f"learner-{rank}", run_id, host=endpoint_host("auto", config.ray.address)
        )

    def __repr__(self) -> str:
        """Name the actor as Ray's dashboard and logs show it."""
        return f"{self._run_id}/learner-{self._rank}"

    def rendezvous(self) -> tuple[str, int]:
        """Open the store at which the ranks meet, and return its address; asked of rank 0."""
        return str(ray.util.get_node_ip_address()), self._member.open_store()  # type: ignore[no-untyped-call]

    def metrics_address(self) -> str:
        return self._telemetry.address
