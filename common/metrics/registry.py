"""Every metric of Couplet.

From these declarations come the Prometheus endpoints, metrics.jsonl, TensorBoard, W&B, the report's charts, the
table in the documentation, and the check of the dashboards' queries.
"""

from __future__ import annotations

from common.metrics.metric import Metric
from common.metrics.processes import HTTP, PROCESS, REWARD_WORKER, ROLLOUT, RUN, SCORING, WORKER
from common.metrics.stages import STAGE_METRICS
from common.metrics.step import STEP_METRICS

#: All that a line of metrics.jsonl or evaluations.jsonl may hold, of either kind of run.
OF_A_STEP: tuple[Metric, ...] = tuple(dict.fromkeys([*STEP_METRICS, *STAGE_METRICS]))

#: What the processes of a role export beside :data:`PROCESS`.
BY_ROLE: dict[str, tuple[Metric, ...]] = {
    "orchestrator": (*RUN, *OF_A_STEP),
    "learner": WORKER,
    "rollout": (*WORKER, *ROLLOUT),
    "reward": (*WORKER, *REWARD_WORKER, *SCORING),
    "reward-service": (*SCORING, *HTTP),
}

METRICS: tuple[Metric, ...] = tuple(dict.fromkeys([*PROCESS, *(m for ms in BY_ROLE.values() for m in ms)]))


def find(key: str) -> tuple[Metric, dict[str, str]]:
    """The step metric of a key of metrics.jsonl, and the labels that the key holds.

    Raises KeyError for a key that is not declared.
    """
    metric = _PLAIN.get(key)
    if metric is not None:
        return metric, {}
    for metric in _LABELLED:
        labels = metric.labels_in(key)
        if labels is not None:
            return metric, labels
    raise KeyError(key)


_PLAIN = {metric.key: metric for metric in OF_A_STEP if not metric.labels}
_LABELLED = [metric for metric in OF_A_STEP if metric.labels]
