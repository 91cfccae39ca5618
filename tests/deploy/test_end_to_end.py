"""What the chart installs, run for real on this machine, and looked at: every query of every dashboard has data.

A Redis, Ray's head and nodes with logical GPUs, the reward service with its Deployment's command, a job with the
RayJob's entrypoint, a node exporter, and a Prometheus with the rendered scrape configuration. Two more jobs, in a
namespace of their own, are discovered by the files in their run folders: one of a supervised stage, and one that
brings the metrics that the first has not, and ends when all have been scraped, as one of its learner's pods
leaves.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from ray.job_submission import JobSubmissionClient

from common.metrics.registry import METRICS
from common.processes import die_with_parent
from orchestrator.fleet.embedded_redis import EmbeddedRedis
from tests.browser import open_browser
from tests.deploy.loopback import ROOT, Release
from tests.deploy.prometheus_server import Prometheus
from tests.deploy.promql import DASHBOARDS, queries, unanswered
from tests.deploy.tools import tool
from tests.ray_cluster import free_port
from tests.stage_runs import write_recipes

_SECONDS = 180.0
#: No job has an objective from outside, which alone reports the metrics of that family.
_NAMES = {name for metric in METRICS if metric.key != "objective/{metric}" for name in metric.series_names}
#: A reward function that takes its time: the second job is not to keep both cores from the first.
_PACE = "import time\n\n\ndef pace(task, completion):\n    time.sleep(0.1)\n    return 0.0\n"
#: Of the second job: another objective, with its own reward worker, and turns of learner and rollout worker on the
#: same devices; and more steps than it will get to.
_OTHER = (
    "run.id=other",
    "rollout.placement=shared",
    "admission.max_staleness=0",
    "run.steps=500",
    "reward.functions=[{path: 'pace:pace', weight: 0}]",
    "learner.preset=vrpo",
    "rollout.approximate_locking=0.01",
    "rollout.approximate_measured_share=0.5",
    "telemetry.port=0",
    "reward.workers=1",
    "learner.off_policy_cap=null",
    "rollout.ray_resource=null",
    "learner.ray_resource=null",
    "rollout.gpus_per_worker=0",
)
#: Of the stage's job: enough steps, slow enough, for several scrapes between the first and the last.
_STAGE = (
    "run.id=stage",
    "run.steps=16",
    "learner.sequences_per_step=96",
    "learner.peak_tflops=1",
    "evaluation.every_steps=4",
    "ray.address=auto",
)


@dataclass
class Observed:
    """What is there after all jobs have ended."""

    release: Release
    prometheus: Prometheus
    started: float

    @property
    def seconds(self) -> float:
        return time.time() - self.started


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    folder = tmp_path_factory.mktemp("loopback")
    other, stage = folder / "runs/other", folder / "runs/stage"
    write_recipes(folder)
    (folder / "pace.py").write_text(_PACE)
    discovered = {
        "job_name": "run-folder",
        "relabel_configs": [{"target_label": "namespace", "replacement": "team-b"}],
        "scrape_interval": "1s",
        "file_sd_configs": [
            {"files": [str(run / "prometheus-targets.json") for run in (other, stage)], "refresh_interval": "1s"}
        ],
    }
    started = time.time()
    with (
        EmbeddedRedis(folder / "redis") as redis,
        Release(folder, redis.url) as release,
        _node_exporter(folder / "node-exporter.log") as node,
    ):
        nodes = {"job_name": "node", "scrape_interval": "1s", "static_configs": [{"targets": [node]}]}
        with Prometheus(release.scrape_config(discovered, nodes), folder / "prometheus") as prometheus:
            client = release.ray.job_client()
            second = _submit_once_it_can(
                client, shlex.join([*shlex.split(release.entrypoint), f"run.folder={other}", *_OTHER]), folder
            )
            adapt = [sys.executable, "-m", "orchestrator.commands.main", "adapt", str(folder / "adapt.yaml")]
            third = client.submit_job(entrypoint=shlex.join([*adapt, f"run.folder={stage}", *_STAGE]))
            # Scraped before as well, or Prometheus could not tell that a count has risen.
            _wait(lambda: bool(prometheus.query("couplet_reward_http_queue_depth")), "first scrape")
            tested = release.helm_test()
            assert tested.returncode == 0, tested.stdout + tested.stderr
            job = _submit(release, shlex.split(release.entrypoint))
            log = folder / "job.log"
            _wait(
                lambda: release.run_folder.joinpath("metrics.jsonl").exists() or job.poll() is not None,
                "a first step",
            )
            assert job.poll() is None, log.read_text()[-6000:]
            _look_at_ray(release)
            assert job.wait(_SECONDS) == 0, log.read_text()[-6000:]
            _wait(
                lambda: _seen(prometheus) >= _NAMES or client.get_job_status(second).is_terminal(), "all metrics"
            )
            _wait(
                lambda: _step(prometheus, "other") >= 3 or client.get_job_status(second).is_terminal(),
                "third step of the second job",
            )
            _wait(lambda: client.get_job_status(third).is_terminal(), "the end of the stage's job")
            logs = client.get_job_logs(third)
            assert client.get_job_status(third) == "SUCCEEDED", logs[-6000:]
            release.leaving.touch()  # as the pod of a learner does that is about to be taken away
            _wait(lambda: client.get_job_status(second).is_terminal(), "the end of the second job")
            (folder / "second.log").write_text(client.get_job_logs(second))
            yield Observed(release, prometheus, started)


def test_the_job_shows_its_progress_and_what_the_reward_service_scored(observed: Observed) -> None:
    log = (observed.release.folder / "job.log").read_text()
    assert "step 5/5" in log
    assert "succeeded" in log
    assert (observed.release.run_folder / "report.html").exists()
    (completions,) = observed.prometheus.query('sum(couplet_scoring_completions_total{role="reward-service"})')
    assert completions.value >= 5 * 4 * 4


def test_the_stage_lowers_its_held_out_loss(observed: Observed) -> None:
    summary = json.loads((observed.release.folder / "runs/stage/summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["held_out_loss_after"] < summary["held_out_loss_before"]


def test_a_run_whose_learner_is_about_to_be_taken_away_stops_with_a_checkpoint(observed: Observed) -> None:
    log = (observed.release.folder / "second.log").read_text()
    assert "a pod of the learner is about to be taken away: the run stops with a checkpoint" in log
    assert re.search(r"checkpoint of step \d+; go on with --resume auto", log), log[-6000:]


def test_every_endpoint_was_scraped(observed: Observed) -> None:
    found = observed.prometheus.query('sum by (role) (count_over_time(couplet_process_open_fds{run!=""}[1h])) > 0')
    assert {series.labels["role"] for series in found} == {
        "orchestrator",
        "learner",
        "rollout",
        "reward",
        "reward-service",
    }
    assert observed.prometheus.query('{__name__=~"ray_.+",job="couplet-ray"}')


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_of_a_dashboard_has_data(observed: Observed, dashboard: Path) -> None:
    asked = [query for query in queries(dashboard) if "DCGM_" not in query.expr]  # there is no GPU
    assert unanswered(observed.prometheus, asked, observed.seconds) == []


def test_runs_of_two_namespaces_lie_over_each_other_by_their_steps(observed: Observed) -> None:
    (query,) = [query for path in DASHBOARDS for query in queries(path) if "by learner step" in query.panel]
    steps: dict[tuple[str, str], set[str]] = {}
    for row in query.answer(observed.prometheus, observed.seconds):
        steps.setdefault((row.labels["namespace"], row.labels["run"]), set()).add(row.labels["step"])
    (first, second) = (steps[namespace, run] for namespace, run in steps if run in ("loopback", "other"))
    assert {namespace for namespace, run in steps if run in ("loopback", "other")} == {"default", "team-b"}
    assert len(first & second) > 1, steps


def test_every_metric_of_the_registry_was_seen(observed: Observed) -> None:
    assert _seen(observed.prometheus) >= _NAMES


def test_no_metric_was_seen_that_the_registry_lacks(observed: Observed) -> None:
    others = _seen(observed.prometheus) - _NAMES
    assert {name for name in others if not name.endswith("_created")} == set()


def test_alert_rules_are_evaluated(observed: Observed) -> None:
    rules = observed.prometheus.rules()
    assert rules
    assert {rule["health"] for rule in rules} == {"ok"}, [rule.get("lastError") for rule in rules]


@contextmanager
def _node_exporter(log: Path) -> Iterator[str]:
    """Debian's, for the length of the context; its address."""
    address = f"127.0.0.1:{free_port('127.0.0.1')}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(tool("prometheus-node-exporter")), f"--web.listen-address={address}"],
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent,
        )
    try:
        yield address
    finally:
        process.kill()
        process.wait()


def _submit(release: Release, command: list[str]) -> subprocess.Popen[bytes]:
    """`ray job submit`, which follows the job's log and ends with its exit code."""
    with (release.folder / "job.log").open("wb") as log:
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("ray")), "job", "submit", "--", *command],
            cwd=ROOT,
            env={**os.environ, **release.ray.access, "RAY_ADDRESS": release.ray.dashboard},
            stdout=log,
            stderr=log,
        )


def _submit_once_it_can(client: JobSubmissionClient, entrypoint: str, modules: Path) -> str:
    """Submit a job that finds the modules of a folder.

    Ray's API answers before the agent that starts jobs has reported to it.
    """
    environment = {"env_vars": {"PYTHONPATH": str(modules)}}
    end = time.monotonic() + _SECONDS
    while True:
        try:
            return str(client.submit_job(entrypoint=entrypoint, runtime_env=environment))
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > end:
                raise
        time.sleep(0.5)


def _seen(prometheus: Prometheus) -> set[str]:
    """Our metrics that were scraped at any time."""
    found = prometheus.query('last_over_time({__name__=~"couplet_.+"}[1h])')
    return {series.labels["__name__"] for series in found}


def _step(prometheus: Prometheus, run: str) -> float:
    """The newest step of a run that was scraped; 0 before the first."""
    return max((series.value for series in prometheus.query(f'couplet_training_step{{run="{run}"}}')), default=0)


def _wait(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < end, f"no {what}"
        time.sleep(0.2)


def _look_at_ray(release: Release) -> None:
    """Ray's own dashboard: actors with names that a person understands, and no script fails."""
    with open_browser() as browser, browser.window(width=1600, height=1000) as window:
        window.open(f"{release.ray.dashboard}/#/actors")
        for name in ("learner-0", "rollout-0"):
            window.wait_for(f"text=loopback/{name}", seconds=30)
        # The page asks Ray for a Grafana, a Prometheus and other things that this cluster does not have.
        assert [said for said in window.complaints if not re.search(r"/api/|Failed to load resource", said)] == []
