"""The closed loop with every process real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import redis


def test_a_run_shows_its_actors_streams_and_metrics_and_stops_on_ctrl_c(start_run):
    run = start_run("run.steps=1000", "rollout.workers=2", "learner.ranks=2", "ray.dashboard=true")
    run.wait_for_step(1)

    listing = _list_actors(run.output)
    for name in ("rollout-0", "rollout-1", "reward-0", "learner-0", "learner-1"):
        assert f"/{name}" in listing

    client = redis.Redis.from_url((run.folder / "redis-url").read_text().strip())
    groups = {
        key.decode().rsplit(":", 1)[1]: client.xinfo_groups(key)[0]["name"].decode()
        for key in client.keys("couplet:*")
        if client.type(key) == b"stream"
    }
    assert (
        groups.items()
        >= {
            "prompts": "rollout-workers",
            "rollouts": "reward-workers",
            "trajectories": "learner",
        }.items()
    )

    targets = json.loads((run.folder / "prometheus-targets.json").read_text())[0]["targets"]
    pages = [urllib.request.urlopen(f"http://{t}/metrics", timeout=10).read().decode() for t in targets]
    assert any("couplet_reward_mean" in page for page in pages)
    assert any("couplet_worker_samples" in page for page in pages)

    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 130
    assert json.loads((run.folder / "summary.json").read_text())["status"] == "interrupted"
    assert (run.folder / "report.html").exists()
    run.assert_nothing_left()


def test_rollouts_overlap_training_and_take_weights_between_steps(start_run):
    """One version of staleness, LLaDA's decoder in blocks, and an approximate cache that the metrics admit to."""
    run = start_run(
        "run.steps=4",
        "admission.max_staleness=1",
        "rollout.update_between=steps",
        "rollout.decoder=low_confidence",
        "rollout.block_length=14",
        "rollout.denoising_steps=14",
        "rollout.approximate_cache=dual",
    )
    assert run.finish()["updates"] == 4
    metrics = run.metrics()
    assert max(line["staleness/max"] for line in metrics) == 1
    for line in metrics:
        assert line["diffusion/approximate"] == 1
        assert 1 <= line["diffusion/steps"] <= 14
        assert line["diffusion/tokens_per_forward"] >= 1
        ended = line["ledger/trained"] + line["ledger/filtered"] + line["ledger/dropped"]
        assert line["ledger/admitted"] == ended + line["ledger/in_flight"]
    run.assert_nothing_left()


def test_mbpp_records_go_through_the_same_path(start_run, tmp_path):
    records = [
        {
            "task_id": number,
            "text": f"Write a function to add {number} to a number.",
            "test_list": [f"assert add({i}) == {i + number}" for i in range(3)],
        }
        for number in range(12)
    ]
    train, held_out = tmp_path / "train.jsonl", tmp_path / "held_out.jsonl"
    train.write_text("".join(json.dumps(record) + "\n" for record in records[:8]))
    held_out.write_text("".join(json.dumps(record) + "\n" for record in records[8:]))
    run = start_run(
        f"data.train={train}", f"data.held_out={held_out}", "run.steps=1", recipe="mbpp_cpu", small=False
    )
    summary = run.finish()
    assert summary["updates"] == 1
    assert summary["pass_rate_after"] == 0.0, "the built-in model cannot solve these, and nothing else may"
    assert run.metrics()[0]["reward/excluded"] == 0
    run.assert_nothing_left()


def _list_actors(output: str) -> str:
    """Run the very command that the run printed."""
    words = next(line for line in output.splitlines() if "actors: " in line).split("actors: ")[1].split()
    environment = dict(word.split("=", 1) for word in words if "=" in word)
    command = [word for word in words if "=" not in word]
    ray = Path(sys.executable).with_name("ray")
    done = subprocess.run(
        [str(ray), *command[1:], "--limit", "100"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
