"""Redis Streams between the processes of a run.

    prompts --> rollout workers --> rollouts --> reward workers --> trajectories --> learner

Every stream is read through a consumer group. A message is acknowledged when its effect is durable: publishing a
result and acknowledging its cause is one transaction, so a crash on either side of it neither loses nor doubles a
message. Acknowledged messages are deleted, so a stream's length is its backlog, and a full stream makes its
producer wait instead of trimming.

A message whose consumer died is claimed again, one at a time, so that a message that kills its consumers is told
apart from its neighbours; after ``deliveries`` attempts its consumer gives it up. Bytes that are no record of the
stream's kind go to the dead-letter stream.

Redis may go away: every operation is repeated until it comes back (:class:`Patience`), and each is safe to repeat
after its reply was lost. Where the data is gone as well, the run's main process makes the streams anew
(``orchestrator/recovery.py``).
"""

from __future__ import annotations

from common.streams.access import check_access
from common.streams.agreement import DisagreementError, ScorersTerms, StatedTerms, Terms
from common.streams.connection import StreamError, connect, open_client
from common.streams.consumer import Consumer, Delivery
from common.streams.names import (
    CONSUMER_GROUPS,
    DEAD_LETTERS,
    DECISIONS,
    EVALUATIONS,
    PROMPTS,
    ROLLOUTS,
    TRAJECTORIES,
    result_stream,
)
from common.streams.patience import Deadline, Patience, StreamsAwayError, actor_patience
from common.streams.streams import Backlog, StreamFullError, Streams

__all__ = [
    "CONSUMER_GROUPS",
    "DEAD_LETTERS",
    "DECISIONS",
    "EVALUATIONS",
    "PROMPTS",
    "ROLLOUTS",
    "TRAJECTORIES",
    "Backlog",
    "Consumer",
    "Deadline",
    "Delivery",
    "DisagreementError",
    "Patience",
    "ScorersTerms",
    "StatedTerms",
    "StreamError",
    "StreamFullError",
    "Streams",
    "StreamsAwayError",
    "Terms",
    "actor_patience",
    "check_access",
    "connect",
    "open_client",
    "result_stream",
]
