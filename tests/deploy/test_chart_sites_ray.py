"""What sites ask of the Ray cluster and its GPUs: values that render right."""

from __future__ import annotations

import pytest

from tests.deploy.chart_render import only, ray_spec
from tests.deploy.chart_sites import Sites, check_site, container, ending, pod, settings, start

SITES: Sites = {
    "an arbitrary high uid": (
        {"ray": {"learner": {"podSecurityContext": {"runAsUser": 1000650000, "runAsGroup": 0}}}},
        lambda d: (
            pod(d, "learner")["securityContext"]["runAsUser"] == 1000650000
            and pod(d, "head")["securityContext"]["runAsUser"] == 10001
        ),
    ),
    "Kueue, which suspends jobs itself": (
        {"kueue": {"queueName": "gpus"}},
        lambda d: "suspend" not in only(d, "RayJob")["spec"],
    ),
    "Kueue and a cluster": (
        {"mode": "cluster", "kueue": {"queueName": "gpus"}},
        lambda d: "suspend" not in only(d, "RayCluster")["spec"],
    ),
    "an autoscaler, which owns the number of pods": (
        {"ray": {"rollout": {"minReplicas": 1, "maxReplicas": 4}}},
        lambda d: (
            "replicas" not in ray_spec(d)["workerGroupSpecs"][1]
            and ray_spec(d)["workerGroupSpecs"][0]["replicas"] == 1
        ),
    ),
    "no autoscaler": (
        {"ray": {"autoscaling": {"enabled": False}}},
        lambda d: ray_spec(d)["workerGroupSpecs"][1]["replicas"] == 2,
    ),
    "memory in other units": (
        {"redis": {"memory": "1.5G"}, "ray": {"learner": {"sharedMemory": 2000000000}}},
        lambda d: (
            "1050000000" in container(d, "redis")["args"] and start(d, 0)["object-store-memory"] == "1600000000"
        ),
    ),
    "an object store that fits into /dev/shm": (
        {"ray": {"rollout": {"sharedMemory": "10Gi"}}},
        lambda d: start(d, 1)["object-store-memory"] == str(8 * 2**30),
    ),
    "InfiniBand": (
        {
            "ray": {
                "learner": {
                    "hostNetwork": True,
                    "hostIPC": True,
                    "extraResources": {"rdma/hca": "1"},
                    "securityContext": {"capabilities": {"add": ["IPC_LOCK"]}},
                }
            }
        },
        lambda d: (
            pod(d, "learner")["hostNetwork"]
            and pod(d, "learner")["hostIPC"]
            and pod(d, "learner")["dnsPolicy"] == "ClusterFirstWithHostNet"
            and container(d, "learner")["securityContext"]["capabilities"]
            == {"drop": ["ALL"], "add": ["IPC_LOCK"]}
        ),
    ),
    "slices of a GPU": (
        {"ray": {"gpuResource": "nvidia.com/mig-3g.40gb", "learner": {"gpusPerPod": 1}}},
        lambda d: (
            container(d, "learner")["resources"]["limits"]["nvidia.com/mig-3g.40gb"] == "1"
            and ray_spec(d)["workerGroupSpecs"][0]["resources"] == {"GPU": "1", "learner": "1"}
        ),
    ),
    "two GPUs by a claim": (
        {
            "ray": {
                "gpuResource": "",
                "learner": {
                    "gpusPerPod": 2,
                    "ranksPerPod": 2,
                    "resourceClaims": [{"name": "gpus", "resourceClaimName": "two"}],
                },
            }
        },
        lambda d: (
            set(container(d, "learner")["resources"]["limits"]) == {"cpu", "memory"}
            and ray_spec(d)["workerGroupSpecs"][0]["resources"] == {"GPU": "2", "learner": "2"}
            and "learner.gpus_per_rank=1" in only(d, "RayJob")["spec"]["entrypoint"]
        ),
    ),
    "learner and rollouts in turns on the same GPUs": (
        {"ray": {"placement": "shared", "learner": {"replicas": 2, "gpusPerPod": 4, "ranksPerPod": 4}}},
        lambda d: (
            [group["groupName"] for group in ray_spec(d)["workerGroupSpecs"]] == ["learner"]
            and settings(d).takes_turns
            and only(d, "PodDisruptionBudget", "-learner")["spec"]["minAvailable"] == 2
            and settings(d).rollout.workers == settings(d).learner.ranks == 8
        ),
    ),
    "a small autoscaler": (
        {"ray": {"autoscaling": {"cpu": "100m"}}},
        lambda d: ray_spec(d)["autoscalerOptions"]["resources"]["requests"]["cpu"] == "25m",
    ),
    "three workers on one GPU": (
        {"ray": {"rollout": {"gpusPerPod": 1, "workersPerPod": 3}}},
        lambda d: "rollout.gpus_per_worker=0.33" in only(d, "RayJob")["spec"]["entrypoint"],
    ),
    "four workers on two GPUs": (
        {"ray": {"rollout": {"gpusPerPod": 2, "workersPerPod": 4}}},
        lambda d: "rollout.gpus_per_worker=0.5" in only(d, "RayJob")["spec"]["entrypoint"],
    ),
    "one user for all storage": (
        {"ray": {"head": {"podSecurityContext": {"fsGroup": 5000}}}},
        lambda d: pod(d, "head")["securityContext"]["fsGroup"] == 5000,
    ),
    "a head on a node of its own": (
        {"ray": {"head": {"nodeSelector": {"pool": "cpu"}}}},
        lambda d: pod(d, "head")["nodeSelector"] == {"pool": "cpu"},
    ),
    "GPUs, which no job that has ended holds": (
        {"ray": {"learner": {"gpusPerPod": 8, "ranksPerPod": 8}}},
        lambda d: ending(d) == (True, 0),
    ),
    "GPUs of a further group": (
        {"ray": {"extraWorkerGroups": {"rerank": {"gpusPerPod": 1}}}},
        lambda d: ending(d) == (True, 0),
    ),
    "GPUs by claims": (
        {"ray": {"rollout": {"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one"}]}}},
        lambda d: ending(d) == (True, 0),
    ),
    "no GPUs, and time for a look": ({}, lambda d: ending(d) == (True, 600)),
    "GPUs, and time for a look": (
        {"job": {"ttlSecondsAfterFinished": 60}, "ray": {"learner": {"gpusPerPod": 1}}},
        lambda d: ending(d) == (True, 60),
    ),
    "no time for a look": ({"job": {"ttlSecondsAfterFinished": 0}}, lambda d: ending(d) == (True, 0)),
    "settings in another alphabet, with quotes and dollars": (
        {"overrides": ["run.about=größer 'als' \"zuvor\" $HOME `x` \\ 模型"]},
        lambda d: "größer" in only(d, "RayJob")["spec"]["entrypoint"],
    ),
    "a setting of ten thousand characters": (
        {"overrides": ["run.about=" + "a" * 10_000]},
        lambda d: "a" * 10_000 in only(d, "RayJob")["spec"]["entrypoint"],
    ),
    "numbers in the form that people write them": (
        {"ray": {"head": {"cpu": 1.5, "memory": "6.5Gi"}, "rollout": {"cpu": "250m"}}},
        lambda d: container(d, "head")["resources"]["limits"] == {"cpu": "1.5", "memory": "6.5Gi"},
    ),
    "name servers, options of Ray, annotations and a larger autoscaler": (
        {
            "ray": {
                "annotations": {"kueue.x-k8s.io/podset-required-topology": "block"},
                "autoscaling": {"memory": "4Gi"},
                "learner": {
                    "dnsConfig": {"searches": ["team.svc"]},
                    "rayStartParams": {"min-worker-port": "10002", "max-worker-port": "10999"},
                },
            }
        },
        lambda d: (
            only(d, "RayJob")["metadata"]["annotations"] == {"kueue.x-k8s.io/podset-required-topology": "block"}
            and ray_spec(d)["autoscalerOptions"]["resources"]["limits"]["memory"] == "4Gi"
            and pod(d, "learner")["dnsConfig"] == {"searches": ["team.svc"]}
            and start(d, 0)["min-worker-port"] == "10002"
        ),
    ),
    "a run of its own name": (
        {"run": {"id": "second-try"}},
        lambda d: only(d, "RayJob")["metadata"]["name"] == "second-try",
    ),
}


@pytest.mark.parametrize("name", SITES)
def test_it_renders_right(name: str) -> None:
    check_site(*SITES[name])
