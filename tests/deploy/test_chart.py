"""The Helm chart: it lints and renders with Helm 3 and 4, and a cluster would accept what it renders."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.deploy.chart_render import (
    CASES,
    CHART,
    HELMS,
    KUBERNETES,
    MODES,
    only,
    ray_spec,
    render,
    run_helm,
    values_arguments,
)
from tests.deploy.chart_schemas import validate

_MONITORS = {"PodMonitor", "ServiceMonitor", "ScrapeConfig", "PrometheusRule"}


@pytest.mark.parametrize("helm", HELMS)
@pytest.mark.parametrize("case", CASES)
def test_lints(helm: str, case: str) -> None:
    done = run_helm(
        helm, "lint", "--strict", str(CHART), "--kube-version", KUBERNETES, *values_arguments(case, "mode=job")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout
    assert "[ERROR]" not in done.stdout


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_both_helms_render_the_same(case: str, mode: str) -> None:
    first, second = (render(helm, case, mode) for helm in HELMS)
    assert _by_name(first) == _by_name(second)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_a_cluster_would_accept_every_document(case: str, mode: str) -> None:
    documents = render("helm", case, mode)
    judges = {document["kind"]: validate(document) for document in documents}
    ray = "RayJob" if mode == "mode=job" else "RayCluster"
    assert {kind for kind, judge in judges.items() if judge == "KubeRay"} == {ray}
    assert {kind for kind, judge in judges.items() if judge == "Prometheus operator"} in (set(), _MONITORS)
    names = [(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]) for d in documents]
    assert len(names) == len(set(names))


def test_the_judges_object() -> None:
    documents = render("helm", "chart_full_values.yaml", "mode=job")
    for kind, path, value in (
        ("RayJob", ["spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"], 0),
        ("RayJob", ["spec", "shutdownAfterJobFinish"], True),
        ("Deployment", ["spec", "template", "spec", "hostUser"], False),
        ("ServiceMonitor", ["spec", "endpoint"], []),
        ("PrometheusRule", ["spec", "groups"], "none"),
        ("ScrapeConfig", ["spec", "httpSDConfig"], []),
    ):
        document = copy.deepcopy(only(documents, kind))
        _set(document, path, value)
        with pytest.raises(AssertionError):
            validate(document)


def test_a_job_retries_in_new_clusters_and_a_cluster_waits_to_be_used() -> None:
    job = only(render("helm", "", "mode=job"), "RayJob")["spec"]
    assert job["submissionMode"] == "HTTPMode"
    assert job["shutdownAfterJobFinishes"] is True
    assert job["backoffLimit"] == 3
    assert "--resume auto --plain" in job["entrypoint"]
    cluster = only(render("helm", "", "mode=cluster"), "RayCluster")["spec"]
    assert cluster == {"suspend": False, **job["rayClusterSpec"]}


def test_the_learner_is_fixed_and_the_rollouts_are_elastic() -> None:
    cluster = ray_spec(render("helm", "ci/10x8-gpu-values.yaml", "mode=job"))
    learner, rollout = cluster["workerGroupSpecs"]
    assert [learner[size] for size in ("replicas", "minReplicas", "maxReplicas")] == [1, 1, 1]
    assert [rollout.get(size) for size in ("replicas", "minReplicas", "maxReplicas")] == [None, 3, 9]
    assert learner["resources"] == {"learner": "8", "GPU": "8"}
    assert rollout["resources"] == {"rollout": "8", "GPU": "8"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"] is True


def _by_name(documents: tuple[dict[str, Any], ...]) -> dict[tuple[str, str], dict[str, Any]]:
    """Without what is random."""
    found = {}
    for document in documents:
        if document["kind"] == "Secret":
            document = {**document, "data": sorted(document["data"])}
        found[document["kind"], document["metadata"]["name"]] = document
    return found


def _set(document: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = value
