"""The fleet of a run: its learner, its rollout workers and its reward workers, started and stopped together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.config import Config, VllmBackendConfig
from learner.learner_rank import LearnerRank
from orchestrator.fleet.cluster import actor_resources
from orchestrator.fleet.learner_group import LearnerGroup
from orchestrator.fleet.placement import PlacementGroups, Places, SharedDevices, shared_part
from orchestrator.fleet.pool import PoolSpec, WorkerPool
from orchestrator.fleet.rank_group import start_ranks
from orchestrator.fleet.ray_processes import checking_ray
from orchestrator.fleet.spawning import Spawner, spawner
from orchestrator.fleet.turns import Turns
from orchestrator.fleet.weights_check import Verified
from reward_service.reward_actor import RewardWorker
from rollout_workers.rollout_actor import RolloutWorker

#: The loop of a rollout worker ends within a step, and vLLM's processes within seconds.
_VLLM_END_SECONDS = 15.0


@dataclass(frozen=True)
class Fleet:
    """All actors of a run. ``watch`` is called while waiting, and may raise."""

    learner: LearnerGroup
    rollout: WorkerPool
    reward: WorkerPool
    turns: Turns
    watch: Callable[[], None]

    @property
    def by_role(self) -> dict[str, LearnerGroup | WorkerPool]:
        return {"learner": self.learner, "rollout": self.rollout, "reward": self.reward}

    @property
    def restarts(self) -> int:
        """Restarts of all actors so far, but for those that were lost with their nodes."""
        return self.rollout.restarts + self.reward.restarts + self.learner.restarts

    def metrics(self) -> dict[str, float]:
        """Return the metrics of a learner step that the fleet knows."""
        delays = self.rollout.measured("weights_delay")
        delay = {"seconds/weights_delay": max(delays)} if delays else {}
        switches = {"seconds/switch": self.turns.take_seconds()} if self.turns.shared else {}
        return {"restarts": float(self.restarts), **delay, **switches}

    def poll(self) -> list[str]:
        """Move every worker on; return a line for each that failed, and what all actors have left for the user.

        Raises what ``watch`` raises, TooManyRestartsError, or LearnerDiedError where a rank of the learner hangs.
        """
        self.watch()
        notes = self.rollout.poll() + self.reward.poll() + self.learner.notes()
        self.learner.watch()
        return notes

    def verified(self) -> list[Verified]:
        """Return what rollout workers have verified of their weights since the last call."""
        return self.rollout.verified()

    def publish(self) -> list[str]:
        """Publish the learner's weights; return a line for each failure, once the learner's part is done.

        Rollout workers take them on their own, between two denoising steps or two batches, as :meth:`poll` goes
        on; whoever is busy for longer skips versions. Only weights older than the last ones, of a learner that
        was restarted, are waited for. Raises LearnerDiedError or TooManyRestartsError.
        """
        return self.rollout.publish(self.learner, self.watch)

    def hold_weights(self) -> None:
        """Have rollout workers keep the weights last published until :meth:`release_weights`.

        Workers that do not have them yet, or are replaced, load them; newer ones are published and wait, the
        newest of them alone. Raises RuntimeError before the first publication.
        """
        self.rollout.hold()

    @property
    def has_weights(self) -> bool:
        """Whether some rollout worker holds the weights that it is to hold, or is loading them.

        Where none is, those of a learner that has died are gone.
        """
        return self.rollout.has_target

    def release_weights(self) -> None:
        """Have rollout workers take the newest weights again; does nothing where none are held."""
        self.rollout.release()


@dataclass(frozen=True)
class FleetSetup:
    """Hold what every actor is constructed with."""

    config: Config
    run_id: str
    redis_url: str


@contextmanager
def running_fleet(
    setup: FleetSetup,
    checkpoint: Path | None,
    check_stop: Callable[[], None],
    tend_streams: Callable[[], None],
    note: Callable[[str], None],
) -> Iterator[Fleet]:
    """Start the fleet, the learner from ``checkpoint`` if there is one; ask its workers to stop on leaving.

    ``check_stop`` is called while waiting and may raise, and ``tend_streams`` while the learner starts, which
    needs them; ``note`` is told of workers that fail at their start.
    Raises TooManyRestartsError, ConfigError where the cluster has no resources for a pool, or RayLostError where a
    process of a local Ray dies.
    """
    config = setup.config
    check = checking_ray(config, check_stop)
    rollout_spec = PoolSpec(
        "rollout",
        config.rollout.workers,
        needs_weights=True,
        minimum=config.rollout.min_workers,
        transport=config.learner.weights_transport,
        verify_weights=config.rollout.verify_weights,
        takes_turns=config.takes_turns,
    )
    rollout_takes = actor_resources(config.rollout.gpus_per_worker, config.rollout.ray_resource)
    reward_takes = actor_resources(0.0, config.reward.ray_resource)
    learner_takes = actor_resources(config.learner.gpus_per_rank, config.learner.ray_resource)
    with ExitStack() as stack:
        shared: SharedDevices | None = None
        if config.takes_turns:
            shared = _shared_devices(setup, learner_takes, check)
            users = 1 + config.rollout.workers // config.learner.ranks
            rollout_takes = actor_resources(shared_part(config.rollout.gpus_per_worker, users), None)
            learner_takes |= actor_resources(shared_part(config.learner.gpus_per_rank, users), None)
        if shared is not None:
            stack.callback(shared.remove)
        rollout = _pool(rollout_spec, RolloutWorker, setup, rollout_takes, shared)
        # Ray, at its end, kills the processes of vLLM and what would tidy up after them.
        vllm = isinstance(config.rollout.backend, VllmBackendConfig)
        stack.callback(rollout.stop, _VLLM_END_SECONDS if vllm else 0.0)
        reward_spec = PoolSpec("reward", config.reward.workers, needs_weights=False)
        reward = _pool(reward_spec, RewardWorker, setup, reward_takes)
        stack.callback(reward.stop)
        learner = LearnerGroup(config, _spawner(LearnerRank, setup, learner_takes, shared), check)
        turns = Turns(config.takes_turns, learner, rollout, check)
        fleet = Fleet(learner, rollout, reward, turns, check)

        def poll() -> None:
            check()
            tend_streams()
            for line in fleet.poll():
                note(line)

        pools = [rollout, reward]
        if config.takes_turns:  # workers load the model before the learner needs the device
            pools.remove(rollout)
            _await_start(rollout, check, note)
            turns.to_new_learner()
        start_ranks(learner, checkpoint, poll, note)
        for pool in pools:
            _await_start(pool, check, note)
        yield fleet


def _await_start(pool: WorkerPool, check_stop: Callable[[], None], note: Callable[[str], None]) -> None:
    for line in pool.wait_until_started(check_stop):
        note(line)


def _shared_devices(
    setup: FleetSetup, takes: Mapping[str, float], check_stop: Callable[[], None]
) -> SharedDevices | None:
    """Reserve what the ranks take, for them and the rollout workers; None where they take nothing."""
    if not takes:
        return None
    shared = SharedDevices(setup.run_id, setup.config.learner.ranks, takes)
    shared.wait(setup.config.deadlines.start_seconds, check_stop)
    return shared


def _pool(
    spec: PoolSpec,
    actor: type,
    setup: FleetSetup,
    takes: Mapping[str, float],
    shared: SharedDevices | None = None,
) -> WorkerPool:
    placement = PlacementGroups(setup.run_id, takes) if takes and shared is None else None
    spawn = _spawner(actor, setup, takes, placement or shared)
    return WorkerPool(spec, spawn, setup.config.deadlines, placement, setup.config.folder / "stacks")


def _spawner(
    actor: type, setup: FleetSetup, takes: Mapping[str, float], placement: Places | None = None
) -> Spawner:
    arguments = (setup.config, setup.run_id, setup.redis_url)
    return spawner(actor, setup.run_id, arguments, takes, placement)
