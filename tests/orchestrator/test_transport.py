from __future__ import annotations

from collections.abc import Callable

import pytest

from common.weights.location import Location
from common.weights.messages import Plan, Publication
from common.weights.planner import BroadcastPlanner, members_of

ADDRESS = ("10.0.0.1", 4321)


class Learner:
    def __init__(self, location: Location, name: str = "learner-0") -> None:
        self.location = location
        self.name = name

    def meeting_point(self) -> tuple[str, int]:
        return ADDRESS

    def begin_publish(self, plan: Plan | None) -> None:
        raise NotImplementedError

    def end_publish(self, failed_member: Callable[[], str | None]) -> Publication:
        raise NotImplementedError


def at(node: str, gpu: str = "") -> Location:
    return Location(node, f"10.0.0.{node}", gpu)


def test_auto_broadcasts_only_between_machines() -> None:
    planner = BroadcastPlanner("auto")
    assert planner.plan(Learner(at("1")), {"rollout-0": at("1"), "rollout-1": at("1")}) is None
    plan = planner.plan(Learner(at("1")), {"rollout-0": at("1"), "rollout-1": at("2")})
    assert plan is not None
    assert plan.members == ("rollout-0", "rollout-1"), "the worker beside the learner takes part too"
    assert plan.address == ADDRESS


def test_a_transport_that_was_asked_for_is_taken() -> None:
    one_machine = {"rollout-0": at("1")}
    assert BroadcastPlanner("collective").plan(Learner(at("1")), one_machine) is not None
    assert BroadcastPlanner("object_store").plan(Learner(at("1")), {"rollout-0": at("2")}) is None


@pytest.mark.parametrize("transport", ["auto", "collective"])
def test_nobody_to_send_to_is_no_group(transport: str) -> None:
    assert BroadcastPlanner(transport).plan(Learner(at("1")), {}) is None


@pytest.mark.parametrize(
    ("learner", "worker", "backend"),
    [("a", "b", "nccl"), ("a", "a", "gloo"), ("a", "", "gloo"), ("", "b", "gloo"), ("", "", "gloo")],
)
def test_nccl_needs_a_gpu_for_everybody(learner: str, worker: str, backend: str) -> None:
    plan = BroadcastPlanner("collective").plan(Learner(at("1", learner)), {"rollout-0": at("2", worker)})
    assert plan is not None
    assert plan.backend == backend


def test_the_group_stays_until_a_member_changes_the_learner_restarts_or_it_fails() -> None:
    planner = BroadcastPlanner("collective")
    learner, members = Learner(at("1")), {"rollout-0": at("1"), "rollout-1": at("2")}
    first = planner.plan(learner, members)
    assert planner.plan(learner, dict(members)) == first
    replaced = {"rollout-0": at("1"), "rollout-1-restart-1": at("2")}
    restarted = Learner(at("1"), "learner-0-restart-1")
    others = [planner.plan(learner, replaced), planner.plan(restarted, members)]
    planner.failed()
    others.append(planner.plan(learner, members))
    keys = {plan.key for plan in (first, *others) if plan is not None}
    assert len(keys) == 4


def test_every_tensor_parallel_rank_is_a_member_of_its_own_and_a_workers_ranks_follow_one_another() -> None:
    workers = {"rollout-0": [at("1", "b"), at("1", "c")], "rollout-1-restart-2": [at("2", "d"), at("2", "e")]}
    members: dict[str, Location] = {}
    for actor, places in workers.items():
        members |= members_of(actor, places)
    plan = BroadcastPlanner("auto").plan(Learner(at("1", "a")), members)
    assert plan is not None
    assert plan.members == ("rollout-0/tp0", "rollout-0/tp1", "rollout-1-restart-2/tp0", "rollout-1-restart-2/tp1")
    assert [plan.rank(member) for member in plan.members] == [1, 2, 3, 4]
    assert plan.backend == "nccl"
    assert members_of("rollout-0", [at("1")]) == {"rollout-0": at("1")}, "alone, it is the actor"


def test_ranks_that_share_a_gpu_cannot_use_nccl() -> None:
    members = members_of("rollout-0", [at("2", "b"), at("2", "b")])
    plan = BroadcastPlanner("auto").plan(Learner(at("1", "a")), members)
    assert plan is not None
    assert plan.backend == "gloo"
