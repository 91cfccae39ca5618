"""Runs that are disturbed: killed workers, a killed learner, a killed run, SIGTERM."""

from __future__ import annotations

import json
import signal

import psutil


def ledger_balances(metrics: dict[str, float]) -> bool:
    outcomes = ("trained", "filtered", "dropped", "in_flight")
    return metrics["ledger/admitted"] == sum(metrics[f"ledger/{outcome}"] for outcome in outcomes)


def test_killed_workers_are_replaced_and_the_ledger_balances(start_run):
    run = start_run("run.steps=6", "rollout.workers=1")
    run.wait_for_step(1)
    for title in ("RolloutWorker", "RewardWorker"):
        (worker,) = run.actors(title)
        worker.send_signal(signal.SIGKILL)
    summary = run.finish()
    assert summary["updates"] == 6
    metrics = run.metrics()
    assert [line["step"] for line in metrics] == [1, 2, 3, 4, 5, 6]
    assert all(ledger_balances(line) for line in metrics)
    assert metrics[-1]["ledger/in_flight"] == 0
    assert metrics[-1]["ledger/trained"] == 6 * 4
    assert metrics[-1]["restarts"] == 2
    run.assert_nothing_left()


def test_a_killed_learner_restarts_from_its_checkpoint(start_run):
    run = start_run("run.steps=5")
    run.wait_for_step(3)
    (rank,) = run.actors("LearnerRank")
    rank.send_signal(signal.SIGKILL)
    summary = run.finish()
    assert summary["updates"] == 5
    metrics = run.metrics()
    assert [line["step"] for line in metrics] == [1, 2, 3, 4, 5]
    assert metrics[-1]["ledger/trained"] == 5 * 4
    assert all(ledger_balances(line) for line in metrics)
    assert "learner died" in run.output
    run.assert_nothing_left()


def test_a_killed_run_leaves_nothing_and_resumes(start_run):
    run = start_run("run.steps=5")
    run.wait_for_step(3)
    sandboxes = run.actors("RewardWorker")[0].children(recursive=True)
    assert sandboxes
    run.process.send_signal(signal.SIGKILL)
    run.process.wait(10)
    run.assert_nothing_left()
    assert not psutil.wait_procs(sandboxes, timeout=30)[1]

    taken = start_run("run.steps=5")
    assert taken.wait() == 2
    assert "--resume auto" in taken.output

    resumed = start_run("run.steps=5", "--resume", "auto")
    summary = resumed.finish()
    assert summary["updates"] == 5
    metrics = resumed.metrics()
    assert [line["step"] for line in metrics] == [1, 2, 3, 4, 5]
    assert metrics[-1]["ledger/trained"] == 5 * 4
    assert metrics[-1]["ledger/in_flight"] == 0
    assert all(ledger_balances(line) for line in metrics)
    resumed.assert_nothing_left()


def test_a_terminated_run_stops_everything_and_still_reports(start_run):
    run = start_run("run.steps=50")
    run.wait_for_step(1)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait() == 143
    assert json.loads((run.folder / "summary.json").read_text())["status"] == "interrupted"
    assert (run.folder / "report.html").exists()
    run.assert_nothing_left()
