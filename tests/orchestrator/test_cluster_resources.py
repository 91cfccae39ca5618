"""The resources that a run asks a cluster for, and how the plan shows them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from common.config import Config, load_config
from orchestrator.commands.plan import plan_view
from orchestrator.fleet.cluster import actor_resources, lacking, required_resources

QUICKSTART = Path(__file__).parents[2] / "recipes/quickstart.yaml"
POOLS = ("rollout.ray_resource=pool", "reward.ray_resource=cpu-pool", "learner.ray_resource=pool")


def configured(*overrides: str) -> Config:
    sizes = ("rollout.workers=6", "reward.workers=3", "learner.ranks=2")
    return load_config(QUICKSTART, [*sizes, *overrides])


@pytest.mark.parametrize(
    ("overrides", "required"),
    [
        ((), {}),
        (("rollout.gpus_per_worker=0.5", "learner.gpus_per_rank=1"), {"GPU": 5.0}),
        (("rollout.gpus_per_worker=0.66",), {"GPU": 6.0}),
        (("rollout.gpus_per_worker=0.33",), {"GPU": 2.0}),
        (("rollout.gpus_per_worker=0.25", "learner.gpus_per_rank=0.75"), {"GPU": 3.0}),
        (POOLS, {"pool": 8.0, "cpu-pool": 3.0}),
        (
            (*POOLS, "rollout.min_workers=1", "rollout.gpus_per_worker=1"),
            {"GPU": 1.0, "pool": 3.0, "cpu-pool": 3.0},
        ),
        (
            (*POOLS, "reward.workers=0", "run.id=x", "streams.url=redis://r"),
            {"pool": 8.0},
        ),
    ],
)
def test_the_run_starts_on_a_cluster_that_has(overrides: tuple[str, ...], required: dict[str, float]) -> None:
    assert required_resources(configured(*overrides)) == required


def test_one_actor_takes_one_of_its_custom_resource() -> None:
    assert actor_resources(0.0, None) == {}
    assert actor_resources(2.0, "pool") == {"GPU": 2.0, "pool": 1.0}


def test_what_is_lacking_is_named_with_what_is_there() -> None:
    assert lacking({"GPU": 8.0, "pool": 2.0}, {"GPU": 8.0, "pool": 2.0, "CPU": 4.0}) == ""
    assert lacking({"GPU": 8.0, "pool": 2.0}, {"GPU": 4.0}) == "8 GPU (it has 4), 2 pool (it has 0)"


def plan_of(*overrides: str) -> str:
    console = Console(width=140, record=True, file=io.StringIO())
    view, _ = plan_view(configured(*overrides))
    console.print(view)
    return console.export_text()


def test_the_plan_shows_every_pools_resources_and_what_the_start_needs() -> None:
    text = plan_of(*POOLS, "rollout.min_workers=1", "rollout.gpus_per_worker=1")
    rows = {line.split("│")[1].strip(): line for line in text.splitlines() if line.startswith("│")}
    assert "1 to 6" in rows["rollout"]
    assert "1 GPU, 1 pool" in rows["rollout"]
    assert "1 cpu-pool" in rows["reward"]
    assert "resources: 1 GPU, 3 pool, 3 cpu-pool" in text
    assert "resources with all workers: 6 GPU, 8 pool, 3 cpu-pool" in text


def test_the_plan_says_who_scores_elsewhere() -> None:
    text = plan_of("reward.workers=0", "run.id=x", "streams.url=env:REDIS_URL")
    assert "couplet serve-rewards --streams-url env:REDIS_URL --run-id x" in text
    assert "resources: CPU only" in text
