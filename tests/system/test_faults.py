"""Runs that are disturbed: killed workers, a killed learner, SIGTERM. A killed run is in test_same_weights.py."""

from __future__ import annotations

import json
import signal


def ledger_balances(metrics: dict[str, float]) -> bool:
    outcomes = ("trained", "filtered", "dropped", "in_flight")
    return metrics["ledger/admitted"] == sum(metrics[f"ledger/{outcome}"] for outcome in outcomes)


def test_killed_actors_are_replaced_and_the_ledger_balances(start_run):
    run = start_run("run.steps=7")
    run.wait_for_step(1)
    for title in ("RolloutWorker", "RewardWorker"):
        (worker,) = run.actors(title)
        worker.send_signal(signal.SIGKILL)
    run.wait_for_step(5)
    (rank,) = run.actors("LearnerRank")
    rank.send_signal(signal.SIGKILL)  # its last checkpoint is of step 4

    summary = run.finish()
    assert summary["updates"] == 7
    metrics = run.metrics()
    assert [line["step"] for line in metrics] == [1, 2, 3, 4, 5, 6, 7]
    assert all(ledger_balances(line) for line in metrics)
    assert metrics[-1]["ledger/in_flight"] == 0
    assert metrics[-1]["ledger/trained"] == 7 * 4
    assert metrics[-1]["restarts"] == 3
    for name in ("rollout-0", "reward-0", "learner"):
        assert f"{name} died" in run.output
    run.assert_nothing_left()


def test_a_terminated_run_leaves_nothing_and_resumes(start_run):
    run = start_run("run.steps=6")
    run.wait_for_step(2)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait() == 143
    assert json.loads((run.folder / "summary.json").read_text())["status"] == "interrupted"
    assert (run.folder / "report.html").exists()
    run.assert_nothing_left()

    taken = start_run("run.steps=6")
    assert taken.wait() == 2
    assert "--resume auto" in taken.output

    resumed = start_run("run.steps=6", "--resume", "auto")
    summary = resumed.finish()
    assert summary["updates"] == 6
    metrics = resumed.metrics()
    assert [line["step"] for line in metrics] == [1, 2, 3, 4, 5, 6]
    assert metrics[-1]["ledger/trained"] == 6 * 4
    assert metrics[-1]["ledger/in_flight"] == 0
    assert all(ledger_balances(line) for line in metrics)
    resumed.assert_nothing_left()
