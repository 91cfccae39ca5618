"""A reward loop as a process of its own: reward_process.py REDIS_URL RUN_ID NAME. Ends after one group."""

from __future__ import annotations

import sys

from common.config import RewardConfig, StreamsConfig
from common.heartbeat import Heartbeat
from common.records import TrajectoryGroup
from common.streams import ROLLOUTS, Consumer, Delivery, Streams, connect
from reward_service.configured import make_scorer
from reward_service.reward_loop import RewardLoop

CLAIM_SECONDS = 1.0


def main(url: str, run_id: str, name: str) -> None:
    streams = Streams(connect(url), run_id, StreamsConfig(claim_seconds=CLAIM_SECONDS))
    consumer = Consumer(streams, ROLLOUTS, name)
    done: list[TrajectoryGroup] = []

    def publish(cause: Delivery, group: TrajectoryGroup) -> None:
        consumer.publish_and_acknowledge(cause, group, 10.0)

    scorer = make_scorer(RewardConfig(sandbox_slots=2))
    RewardLoop(name, consumer, publish, lambda: True, scorer, Heartbeat(60.0), print, 3, shuffle=False).run(
        lambda: bool(done), done.append
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
