"""What sites ask of the chart: values that render right."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.deploy.chart_render import CHART, only, pod_templates, render_values
from tests.deploy.chart_sites import EVERYWHERE, WORKERS, Sites, check_site, has_all, no_ids, pod

SITES: Sites = {
    "nothing at all": ({}, lambda d: only(d, "RayJob")),
    "a long name": (
        {"fullnameOverride": "a" * 40},
        lambda d: all(len(one["metadata"]["name"]) <= 63 for one in d),
    ),
    "OpenShift, whose namespaces have ids of their own": (
        {"fixedIds": False, "rewards": {"isolation": "namespaces"}},
        no_ids,
    ),
    "nulls for what may be empty": (
        {
            "overrides": None,
            "commonLabels": None,
            "ray": {"extraWorkerGroups": None, "learner": {"tolerations": None, "podSecurityContext": None}},
        },
        lambda d: "tolerations" not in pod(d, "learner"),
    ),
    "a label of all objects, and another one of a pod": (
        {
            "commonLabels": {"team": "a", "release": "a"},
            "ray": {"head": {"labels": {"team": "b"}}},
            "redis": {"annotations": {"karpenter.sh/do-not-disrupt": "false"}},
            "monitoring": {"operator": {"enabled": True, "labels": {"release": "prometheus"}}},
        },
        lambda d: (
            pod_templates(d)["head"]["metadata"]["labels"]["team"] == "b"
            and only(d, "ServiceMonitor")["metadata"]["labels"]["release"] == "prometheus"
            and pod_templates(d)["demo-couplet-redis"]["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"]
            == "false"
        ),
    ),
    "labels and selectors with dots and slashes": (
        {
            "commonLabels": {"team.example.com/cost-centre": "a.b"},
            "ray": {"head": {"nodeSelector": {"node.kubernetes.io/instance-type": "p5.48xlarge"}}},
        },
        lambda d: all(one["metadata"]["labels"]["team.example.com/cost-centre"] == "a.b" for one in d),
    ),
    "an account of a cloud for every kind of pod": (
        {
            "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/head"}},
            "ray": {name: {"serviceAccountName": "bucket"} for name in ("learner", "rollout")},
            "rewards": {"serviceAccountName": "rewards"},
        },
        lambda d: (
            [pod(d, name)["serviceAccountName"] for name in WORKERS] == ["bucket", "bucket", "rewards"]
            and not any(pod(d, name)["automountServiceAccountToken"] for name in WORKERS)
            and "eks.amazonaws.com/role-arn" in only(d, "ServiceAccount")["metadata"]["annotations"]
        ),
    ),
    "objects of the site's own": (
        {"extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "site"}}]},
        lambda d: only(d, "ConfigMap", "site"),
    ),
    "one node": (
        {"storage": {"accessModes": ["ReadWriteOnce"]}},
        lambda d: only(d, "PersistentVolumeClaim")["spec"]["accessModes"] == ["ReadWriteOnce"],
    ),
    **{
        f"everything in {where}": (values, lambda d, where=where: has_all(d, where))  # type: ignore[misc]
        for where, values in {
            **{pool: {"ray": {pool: EVERYWHERE}} for pool in ("head", "learner", "rollout")},
            "more": {"ray": {"extraWorkerGroups": {"more": EVERYWHERE}}},
            "rewards": {
                "rewards": {
                    **EVERYWHERE,
                    "isolation": "namespaces",
                    "hostUsers": True,
                    "networkPolicy": {"enabled": False},
                }
            },
            "redis": {"redis": EVERYWHERE},
        }.items()
    },
}


@pytest.mark.parametrize("name", SITES)
def test_it_renders_right(name: str) -> None:
    check_site(*SITES[name])


def test_two_releases_of_a_namespace_share_no_name() -> None:
    """Nor do those whose long names differ at their ends alone."""
    long = "team-a-experiment-with-a-rather-long-name-number-{}".format
    documents = [one for number in (1, 2) for one in render_values({}, release=long(number))]
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(names) == len(set(names))


def test_another_version_of_the_chart_is_the_same_pods_but_for_their_images(tmp_path: Path) -> None:
    """A changed template of a pod restarts it, Redis' under a run."""
    chart = tmp_path / "couplet"
    shutil.copytree(CHART, chart)
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump(about | {"version": "9.9.9", "appVersion": "9.9.9"}))
    images = {part: {"image": {"tag": "1"}} for part in ("ray", "rewards", "redis")}
    before, after = (pod_templates(render_values(images, chart=one)) for one in (CHART, chart))
    hook = "demo-couplet-test-score"
    assert before.keys() == after.keys()
    assert {name: pod for name, pod in before.items() if name != hook} == {
        name: pod for name, pod in after.items() if name != hook
    }
