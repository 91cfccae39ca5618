"""What sites ask of Redis, rewards and their code: values that render right."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.deploy.chart_render import ROOT, only, pod_templates
from tests.deploy.chart_sites import (
    BLEU,
    DIGEST,
    INDEX,
    Sites,
    check_site,
    container,
    egress_ports,
    env,
    packages,
    pod,
)

(_EXAMPLE,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/kubernetes.md").read_text(), re.DOTALL)
_GIT_SYNC = yaml.safe_load(_EXAMPLE)

SITES: Sites = {
    "a Ray in the nodes' network, which no policy can tell from its nodes": (
        {"ray": {"extraWorkerGroups": {"more": {"hostNetwork": True}}}},
        lambda d: all(
            only(d, "NetworkPolicy", name)["spec"]["ingress"] == [{"ports": [{"port": port, "protocol": "TCP"}]}]
            for name, port in (("-redis", "redis"), ("-rewards", "http"))
        ),
    ),
    "a Redis in its node's network": (
        {"redis": {"hostNetwork": True}},
        lambda d: 6379 in egress_ports(d),
    ),
    "a test of the service, which takes its place and not its devices": (
        {
            "rewards": {"resourceClaims": [{"name": "a", "resourceClaimName": "b"}], "priorityClassName": "high"},
        },
        lambda d: (
            pod(d, "test-score")["priorityClassName"] == "high"
            and "resourceClaims" not in pod(d, "test-score")
            and "resourceClaims" in pod(d, "rewards")
        ),
    ),
    "gVisor": (
        {"rewards": {"runtimeClassName": "gvisor", "isolation": "namespaces"}},
        lambda d: pod(d, "rewards")["runtimeClassName"] == "gvisor",
    ),
    "an image by its digest": (
        {"ray": {"image": {"repository": "registry.example.com/train", "digest": DIGEST}}},
        lambda d: container(d, "head")["image"] == f"registry.example.com/train@{DIGEST}",
    ),
    "a registry without a way out": (
        {
            "imagePullSecrets": [{"name": "mirror"}],
            "ray": {"image": {"repository": "mirror.example.com:5000/couplet-train"}},
            "rewards": {"image": {"repository": "mirror.example.com:5000/couplet-reward"}},
            "redis": {
                "image": {"repository": "mirror.example.com:5000/valkey"},
                "exporter": {"enabled": True, "image": {"repository": "mirror.example.com:5000/redis_exporter"}},
            },
        },
        lambda d: all(
            container["image"].startswith("mirror.example.com:5000/")
            for pod in pod_templates(d).values()
            for container in pod["spec"]["containers"]
        ),
    ),
    "a Redis with TLS, whose address is in a Secret": (
        {
            "redis": {
                "enabled": False,
                "external": {"secret": {"name": "managed"}, "port": 6380, "certificateAuthority": {"name": "ca"}},
            }
        },
        lambda d: (
            env(d, "head")["COUPLET_REDIS_URL"]["value"]
            == "$(COUPLET_REDIS_ADDRESS)?ssl_ca_certs=/etc/couplet-redis/ca.crt"
            and {"secretName": "ca"} in [v.get("secret") for v in pod(d, "rewards")["volumes"]]
            and 6380 in egress_ports(d)
        ),
    ),
    "a Redis with TLS by its address": (
        {
            "redis": {
                "enabled": False,
                "external": {"url": "rediss://cache.example.com:6390/2", "certificateAuthority": {"name": "ca"}},
            }
        },
        lambda d: (
            env(d, "rewards")["COUPLET_REDIS_URL"]["value"]
            == "rediss://cache.example.com:6390/2?ssl_ca_certs=/etc/couplet-redis/ca.crt"
            and 6390 in egress_ports(d)
        ),
    ),
    "a Redis without a port": (
        {"redis": {"enabled": False, "external": {"url": "redis://cache.example.com"}}},
        lambda d: 6379 in egress_ports(d),
    ),
    "a Redis by its IPv6 address": (
        {"redis": {"enabled": False, "external": {"url": "redis://[fd00::7]:6400/0"}}},
        lambda d: 6400 in egress_ports(d),
    ),
    "a small Redis": (
        {"redis": {"memory": "512Mi"}},
        lambda d: str(512 * 2**20 * 70 // 100) in container(d, "redis")["args"],
    ),
    "an exporter of Redis": (
        {"redis": {"exporter": {"enabled": True}}, "monitoring": {"operator": {"enabled": True}}},
        lambda d: only(d, "PodMonitor", "-redis")["spec"]["podMetricsEndpoints"][0]["port"] == "metrics",
    ),
    "a Redis with options of its own and TLS": (
        {
            "redis": {
                "enabled": False,
                "external": {"url": "rediss://cache/0?socket_timeout=5", "certificateAuthority": {"name": "ca"}},
            }
        },
        lambda d: (
            env(d, "head")["COUPLET_REDIS_URL"]["value"]
            == "rediss://cache/0?socket_timeout=5&ssl_ca_certs=/etc/couplet-redis/ca.crt"
        ),
    ),
    "dashboards of two teams in one place": (
        {"monitoring": {"dashboards": {"enabled": True, "namespace": "grafana"}}},
        lambda d: only(d, "ConfigMap", "demo-couplet-default-run-dashboard"),
    ),
    "no privilege to keep programs in, and a profile": (
        {
            "rewards": {
                "isolation": "namespaces",
                "seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/reward.json"},
            }
        },
        lambda d: pod(d, "rewards")["securityContext"]["seccompProfile"]["type"] == "Localhost",
    ),
    "no budget for the reward service": (
        {"rewards": {"disruptionBudget": {"enabled": False}}},
        lambda d: len([one for one in d if one["kind"] == "PodDisruptionBudget"]) == 3,
    ),
    "reward functions of their own": (
        {"code": {"files": {"mine.py": "def short(task, completion):\n    return 1.0\n"}}},
        lambda d: (
            all(
                env(d, name)["PYTHONPATH"]["value"] == "/opt/couplet-code"
                and {"name": "demo-couplet-code"}
                in [volume.get("configMap") for volume in pod(d, name)["volumes"]]
                for name in ("head", "learner", "rewards")
            )
            and "mine.py" in only(d, "ConfigMap", "-code")["data"]
        ),
    ),
    "code that git-sync brings": (
        {
            "code": {"enabled": True, "path": "/code/current"},
            "rewards": {
                "extraVolumes": [{"name": "git", "emptyDir": {}}],
                "extraVolumeMounts": [{"name": "git", "mountPath": "/code"}],
                "initContainers": [{"name": "git-sync", "image": "git-sync:v4.4.0"}],
            },
        },
        lambda d: env(d, "rewards")["PYTHONPATH"]["value"] == "/code/current",
    ),
    "code that git-sync brings to all pods, as the docs have it": (
        _GIT_SYNC,
        lambda d: all(
            pod(d, name)["initContainers"][0]["name"] == "git-sync" for name in ("head", "rollout", "rewards")
        ),
    ),
    "packages from a mirror": (
        {
            "code": {
                "files": {"mine.py": ""},
                "packages": {"install": ["sacrebleu==2.5.1"], "index": "https://pypi.example.com/simple"},
            },
            "rewards": {"networkPolicy": {"egress": [INDEX]}},
        },
        lambda d: (
            all(
                packages(d, name)["command"][-3:] == ["--index-url=https://pypi.example.com/simple", "--", BLEU]
                and env(d, name)["PYTHONPATH"]["value"] == "/opt/couplet-code:/opt/couplet-packages"
                for name in ("head", "learner", "rollout", "rewards")
            )
            and INDEX in only(d, "NetworkPolicy", "-rewards")["spec"]["egress"]
        ),
    ),
    "packages without a network, from wheels on a volume": (
        {
            "code": {"packages": {"install": [BLEU], "wheels": "/wheels"}},
            **{
                part: {
                    "extraVolumes": [{"name": "wheels", "persistentVolumeClaim": {"claimName": "wheels"}}],
                    "extraVolumeMounts": [{"name": "wheels", "mountPath": "/wheels"}],
                }
                for part in ("ray", "rewards")
            },
        },
        lambda d: all(
            {"--no-index", "--find-links=/wheels"} <= set(packages(d, name)["command"])
            and "/wheels" in {mount["mountPath"] for mount in packages(d, name)["volumeMounts"]}
            for name in ("head", "rewards")
        ),
    ),
}


@pytest.mark.parametrize("name", SITES)
def test_it_renders_right(name: str) -> None:
    check_site(*SITES[name])
