"""The model of the pipeline, beside arithmetic for cases that have any, and `couplet plan`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from common.config import dump_config, load_config
from orchestrator.commands.main import main
from orchestrator.planning.machine import Machine
from orchestrator.planning.measured import measured_times
from orchestrator.planning.model import forecast
from orchestrator.planning.splits import best_splits, in_turns, with_split
from orchestrator.planning.station import Station
from orchestrator.planning.types import Pipeline, Times

QUICKSTART = Path(__file__).parents[2] / "recipes/quickstart.yaml"
ONE_AND_ONE = Pipeline(
    rollout_workers=1,
    reward_workers=1,
    learner_ranks=1,
    slots=2,
    groups_per_step=4,
    group_size=8,
    max_staleness=0,
    max_in_flight=64,
    checkpoint_steps=5,
    in_order=True,
    between_steps=False,
)
OVERLAPPING = replace(ONE_AND_ONE, max_staleness=1, in_order=False, between_steps=True)


def test_jobs_of_a_station_share_what_is_fixed() -> None:
    station = Station(slots=3, fixed=1.0, each=2.0)
    machine = Machine([station], [1], cores=None)
    for job in range(2):
        machine.begin(0, job, 1.0)
    assert machine.next_end() == (0, 0)
    assert machine.now == pytest.approx(1.0 + 2 * 2.0)
    machine.begin(0, 2, 1.0)
    assert machine.next_end() == (0, 1)  # at the same moment as the first
    assert machine.now == pytest.approx(5.0)
    assert machine.next_end() == (0, 2)
    assert machine.now == pytest.approx(5.0 + 1.0 + 2.0)
    assert machine.busy_seconds(range(1)) == pytest.approx(8.0)


def test_stations_share_cores() -> None:
    stations = [Station(1, 1.0, 0.0) for _ in range(3)]
    machine = Machine(stations, [1, 1, 2], cores=2.0)
    for number in range(3):
        machine.begin(number, number, work=1.0 + number)
    # Four threads on two cores: all at half speed, until the first ends after 2 s.
    assert machine.next_end() == (0, 0)
    assert machine.now == pytest.approx(2.0)
    # Three threads on two cores: the second has 1 s of work left, at 2/3 of the speed.
    assert machine.next_end() == (1, 1)
    assert machine.now == pytest.approx(3.5)
    # The third is alone: after 1 s and 1 s of its 3 s of work, 1 s is left.
    assert machine.next_end() == (2, 2)
    assert machine.now == pytest.approx(4.5)


def test_a_station_rests_while_it_is_held() -> None:
    machine = Machine([Station(1, 1.0, 0.0)], [1], cores=None)
    machine.begin(0, 0, work=3.0)
    machine.hold(0, 2.0)
    assert machine.next_end() == (0, 0)
    assert machine.now == pytest.approx(5.0)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_synchronous_step_is_the_sum_of_its_parts(workers: int) -> None:
    times = Times(rollout=1.0, update=3.0, publish=0.25, overhead=0.25, checkpoint=6.0)
    found = forecast(replace(ONE_AND_ONE, rollout_workers=workers), times)
    sampling = 4 / workers  # goes on while a checkpoint is written, which is every fifth step
    assert found.step_seconds == pytest.approx(3.0 + 0.5 + (4 * sampling + max(sampling, 6.0)) / 5)
    assert found.samples_per_second == pytest.approx(32 / found.step_seconds)
    assert found.staleness == 0
    assert forecast(ONE_AND_ONE, replace(times, checkpoint=0.0)).bottleneck.startswith("none: roles take turns")


def test_a_step_in_turns_adds_two_switches_and_waits_for_its_checkpoint() -> None:
    times = Times(rollout=1.0, update=3.0, publish=0.25, overhead=0.25, checkpoint=6.0, switch=0.5)
    found = forecast(replace(ONE_AND_ONE, takes_turns=True), times)
    assert found.step_seconds == pytest.approx(4 * 1.0 + 3.0 + 0.5 + 2 * 0.5 + 6.0 / 5)
    shared = in_turns(OVERLAPPING, times, devices=4, each=1.0)
    assert (shared.rollout_workers, shared.learner_ranks) == (4, 4)
    assert shared.forecast.step_seconds == pytest.approx(4 * 1.0 / 4 + 3.0 / 4 + 0.5 + 2 * 0.5 + 6.0 / 5)
    assert shared.forecast.staleness == 0


@pytest.mark.parametrize("update", [1.0, 4.0, 9.0])
def test_with_overlap_the_slower_role_sets_the_pace(update: float) -> None:
    found = forecast(OVERLAPPING, Times(rollout=1.0, update=update))
    assert found.step_seconds == pytest.approx(max(4.0, update), rel=0.02)
    assert found.rollout_busy == pytest.approx(4.0 / max(4.0, update), rel=0.02)
    assert found.learner_busy == pytest.approx(update / max(4.0, update), rel=0.02)
    assert found.staleness <= 1
    if update != 4.0:
        assert found.bottleneck == ("learner" if update > 4.0 else "rollout workers")


def test_overlap_gains_nothing_where_there_is_one_core() -> None:
    times = Times(rollout=1.0, update=4.0)
    alone = forecast(replace(ONE_AND_ONE, cores=1.0), times)
    overlapped = forecast(replace(OVERLAPPING, cores=1.0), times)
    assert overlapped.step_seconds == pytest.approx(alone.step_seconds, rel=0.02)


def test_rewards_hold_a_run_up_where_they_are_slowest() -> None:
    times = Times(rollout=0.5, update=1.0, reward=3.0)
    found = forecast(OVERLAPPING, times)
    assert found.bottleneck == "reward workers"
    assert found.step_seconds == pytest.approx(12.0, rel=0.02)
    more = forecast(replace(OVERLAPPING, reward_workers=4), times)
    assert more.step_seconds == pytest.approx(3.0, rel=0.2)


def test_a_slow_group_costs_less_where_others_may_be_trained_before_it() -> None:
    """On many workers, of which one is held up: whoever waits for it in order loses more."""
    many = replace(OVERLAPPING, rollout_workers=8, groups_per_step=16, max_in_flight=128, max_staleness=2)
    slow = replace(many, slow_share=0.02, slow_factor=10.0)
    times = Times(rollout=1.0, update=2.0)
    any_order, in_order = (forecast(replace(slow, in_order=order), times) for order in (False, True))
    assert any_order.samples_per_second > 1.1 * in_order.samples_per_second


def test_groups_that_became_too_old_are_dropped() -> None:
    slow = replace(OVERLAPPING, rollout_workers=4, slow_share=0.1, slow_factor=30.0)
    found = forecast(slow, Times(rollout=1.0, update=1.0), steps=200)
    assert 0 < found.dropped < 0.2
    assert found.staleness <= 1


def test_weights_reach_work_sooner_between_steps_than_between_batches() -> None:
    times = Times(rollout=4.0, update=3.0, publish=0.5, load=0.25)
    steps = forecast(replace(OVERLAPPING, rollout_workers=2), times)
    batches = forecast(replace(OVERLAPPING, rollout_workers=2, between_steps=False), times)
    assert steps.weights_to_work == pytest.approx(0.75)
    assert batches.weights_to_work > steps.weights_to_work


def test_the_best_split_is_found_among_all() -> None:
    times = Times(rollout=1.0, update=8.0, publish=0.1)
    pipeline = replace(OVERLAPPING, groups_per_step=16, max_in_flight=64)
    found = best_splits(pipeline, times, devices=12, per_worker=1.0, per_rank=1.0)
    every = {
        ranks: forecast(*with_split(pipeline, times, 12 - ranks, ranks)).samples_per_second
        for ranks in range(1, 12)
    }
    assert found[0].forecast.samples_per_second == pytest.approx(max(every.values()))
    assert found[0].rollout_workers + found[0].learner_ranks == 12


def test_a_thousand_workers() -> None:
    large = replace(
        OVERLAPPING,
        rollout_workers=1000,
        reward_workers=64,
        groups_per_step=1000,
        max_in_flight=1 << 20,
        spread=0.3,
    )
    found = forecast(large, Times(rollout=20.0, rollout_fixed=40.0, update=40.0, reward=1.0), steps=4)
    assert 0 < found.samples_per_second < 1000 * 2 * 8 / 80.0  # both slots of all workers full, all the time


def write_run(folder: Path, *overrides: str) -> Path:
    """Write what a run leaves whose times are known: 2 groups a step."""
    folder.mkdir()
    config = load_config(QUICKSTART, [f"run.folder={folder}", *overrides])
    (folder / "config.yaml").write_text(dump_config(config))
    lines: list[dict[str, Any]] = [
        {
            "step": step,
            "groups/trained": 2.0,
            "seconds/rollout": 1.0 if step > 2 else 50.0,
            "seconds/reward": 0.2,
            "seconds/update": 0.6,
            "seconds/wait": 1.1,
            "seconds/weights": 0.05,
            "seconds/checkpoint": 0.3 if step % 2 else 1e-6,
            "seconds/step": 1.1 + 0.6 + 0.05 + 0.1 + (0.3 if step % 2 else 1e-6),
        }
        for step in range(1, 9)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "run.json").write_text(json.dumps({"run_id": "planned", "name": "planned"}))
    return folder


def test_times_are_those_of_a_run_on_a_machine_of_its_own(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "rollout.workers=1", "learner.ranks=1")
    found = measured_times(folder, load_config(folder / "config.yaml"), cores=2.0)
    assert found.rollout == pytest.approx(0.5)
    assert found.reward == pytest.approx(0.1)
    assert (found.update, found.publish, found.checkpoint) == pytest.approx((0.6, 0.05, 0.3))
    assert found.overhead == pytest.approx(0.1)


def test_what_processes_lost_to_each_other_is_taken_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "rollout.workers=4", "learner.ranks=2")
    config = load_config(folder / "config.yaml")
    taking_turns = measured_times(folder, config, cores=2.0)
    assert (taking_turns.rollout, taking_turns.update) == pytest.approx((0.25, 0.6))
    side_by_side = config.model_copy(
        update={"admission": config.admission.model_copy(update={"max_staleness": 1})}
    )
    found = measured_times(folder, side_by_side, cores=2.0)
    assert (found.rollout, found.update) == pytest.approx((0.5 / 3, 0.2))


def couplet(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["plan", *arguments])


def test_a_plan_from_given_times() -> None:
    result = couplet("quickstart", "--time", "rollout=1", "--time", "update=8", "--cores", "8", "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout.splitlines()[-1])
    assert record["forecasts"]["0"]["step_seconds"] == pytest.approx(16 / 2 + 8, rel=0.1)
    assert record["forecasts"]["1"]["step_seconds"] < record["forecasts"]["0"]["step_seconds"]
    assert record["times"]["update"] == 8


def test_a_plan_for_gpus_that_are_not_there() -> None:
    result = couplet("diffucoder_8xh100", "--gpu", "H100", "--price", "2", "run.epochs=null", "run.steps=100")
    assert result.exit_code == 0, result.output
    assert "best splits of 8 GPUs" in result.output
    assert "on 8 GPUs" in result.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--of FOLDER"),
        (["--time", "rollout=1"], "--time update=SECONDS"),
        (["--time", "sleep=1"], "PART=SECONDS"),
        (["--time", "rollout=-1"], "PART=SECONDS"),
        (["--of", "."], "run"),
        (["--gpu", "H100", "model.path=nobody/nothing"], "model.path"),
    ],
)
def test_a_plan_without_times_is_refused(arguments: list[str], told: str) -> None:
    result = couplet("quickstart", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr
