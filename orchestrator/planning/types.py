"""What the model of a run goes by, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass

#: A role that works more than this share of the time is what the others wait for.
_BUSY = 0.85


@dataclass(frozen=True)
class Times:
    """Seconds that the parts of a run take where each process has the cores or the GPU that it needs.

    ``rollout``: what one group adds to the time of a worker's batch; ``rollout_fixed``: what the batch takes
    besides, however many groups it has. ``reward``: scoring a group. ``update``: training on the groups of a step.
    ``publish``: the learner's part in new weights; ``load``: a rollout worker's. ``checkpoint``: writing one.
    ``switch``: devices that learner and rollout workers share going from one to the other, where they do.
    ``overhead``: all else in a step.
    """

    rollout: float
    update: float
    rollout_fixed: float = 0.0
    reward: float = 0.0
    publish: float = 0.0
    load: float = 0.0
    checkpoint: float = 0.0
    switch: float = 0.0
    overhead: float = 0.0


@dataclass(frozen=True)
class Pipeline:
    """Say how a run is set up.

    ``slots``: groups that a rollout worker denoises together. ``in_order``: the learner trains groups in the order
    of their admission. ``between_steps``: workers take new weights between two denoising steps, else when their
    batch has ended. ``cores``: of the one machine that all processes share, a process of the model using
    ``threads`` of them; None where each process has its own. ``takes_turns``: rollout workers stand on the
    learner's devices, and wait for its checkpoints, too. ``spread``: standard deviation of the work of a
    group, as a share of its mean; ``slow_share`` of the groups are ``slow_factor`` times as much work.
    """

    rollout_workers: int
    reward_workers: int
    learner_ranks: int
    slots: int
    groups_per_step: int
    group_size: int
    max_staleness: int
    max_in_flight: int
    checkpoint_steps: int
    in_order: bool
    between_steps: bool
    cores: float | None = None
    threads: int = 1
    takes_turns: bool = False
    spread: float = 0.0
    slow_share: float = 0.0
    slow_factor: float = 1.0


@dataclass(frozen=True)
class Forecast:
    """What the model of a run comes to, over its steps after the first ones.

    ``rollout_busy``, ``reward_busy``, ``learner_busy``: shares of the time in which they work. ``staleness``: mean
    over the trained groups. ``dropped``: share of the groups that became too old. ``weights_to_work``: mean
    seconds from the end of an update to a worker's first work under its weights.
    """

    samples_per_second: float
    step_seconds: float
    rollout_busy: float
    reward_busy: float
    learner_busy: float
    staleness: float
    dropped: float
    weights_to_work: float

    @property
    def bottleneck(self) -> str:
        """Name the role that the others wait for; where there is none, the parts of a step wait for each other."""
        busy = {
            "rollout workers": self.rollout_busy,
            "reward workers": self.reward_busy,
            "learner": self.learner_busy,
        }
        role = max(busy, key=lambda name: busy[name])
        return role if busy[role] >= _BUSY else f"none: roles take turns, the {role} longest"
