"""The chart's values for what surrounds the Ray cluster: reward service, Redis, storage, monitoring."""

# ruff: noqa: N815, RUF012 - fields are spelled as Kubernetes spells its own; pydantic copies defaults

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from deploy.generate.chart_fields import (
    Annotations,
    Bytes,
    Count,
    Cpu,
    EgressRule,
    Labels,
    Peer,
    Positive,
    Reference,
    SeccompProfile,
)
from deploy.generate.chart_pods import Image, Part, Pod, SecretKey

Url = Annotated[str, Field(pattern=r"^(https?://\S+)?$")]
Duration = Annotated[str, Field(pattern=r"^([1-9][0-9]*(ms|s|m|h|d))+$")]


class TokenSecret(SecretKey):
    name: Reference = ""
    """A Secret with the token; empty makes one and keeps it through upgrades. Name one where manifests are made
    by `helm template`, which cannot look up what it made before."""
    key: Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$")] = "token"
    """The key in it."""


class Scaling(Part):
    enabled: bool = True
    """Let a HorizontalPodAutoscaler (autoscaling/v2) choose the number of pods; it needs the metrics server."""
    minReplicas: Positive = 2
    """Pods at least."""
    maxReplicas: Positive = 8
    """Pods at most."""
    targetCPUUtilizationPercentage: Annotated[int, Field(ge=1, le=100)] = 75
    """Average use of the requested CPU that it aims at."""


class DisruptionBudget(Part):
    enabled: bool = True
    """Make a PodDisruptionBudget."""
    maxUnavailable: Positive = 1
    """Pods that a drain of nodes may take at once."""


class RewardNetwork(Part):
    enabled: bool = True
    """Make a NetworkPolicy: out only to DNS and Redis, in only from this release and the namespaces below. It
    takes a network plugin that enforces it."""
    fromNamespaces: list[Reference] = []
    """Namespaces whose pods may reach the service as well: Prometheus', or those of other clients."""
    egress: list[EgressRule] = []
    """More rules of where its pods may connect to, such as an index of packages."""
    redisPeers: list[Peer] = []
    """With an external Redis: its NetworkPolicyPeers. Empty allows its port on every address."""


class Rewards(Pod):
    """The reward service: a Deployment that runs the programs that models write."""

    image: Image = Image(repository="couplet-reward")
    replicas: Positive = 2
    """Pods where autoscaling is off."""
    slots: Positive = 4
    """Programs that a pod runs at once (`reward.sandbox_slots`): about its CPUs."""
    isolation: Literal["uid", "namespaces"] = "uid"
    """What keeps programs in (`reward.sandbox_level`). `uid` works under seccomp RuntimeDefault: the service is
    root of the pod's own user namespace with five capabilities, programs run under ids of their own with
    seccomp, Landlock and limits. `namespaces` gives each program PID, mount and network namespaces as well, to a
    service without root and capabilities, but a pod may make such namespaces only without a seccomp profile of
    the runtime (or with one of your own in seccompProfile). An unprivileged pod under RuntimeDefault reaches
    neither: docs/kubernetes.md."""
    hostUsers: bool = False
    """false: a user namespace for the pod, so that its root is nobody on the node (Kubernetes 1.33, containerd
    2.0 or CRI-O 1.25; older clusters ignore it). Set it to true where a node refuses such pods."""
    runtimeClassName: Reference = ""
    """RuntimeClass of the pods, such as `gvisor`: a kernel of its own for each pod. gVisor has no Landlock, so it
    takes isolation namespaces. Not tried."""
    hostNetwork: bool = False
    """Use the node's network. It takes isolation namespaces, in which programs have a network of their own,
    `hostUsers: true`, and `networkPolicy.enabled: false`, as none would hold."""
    hostIPC: bool = False
    """Use the node's shared memory and semaphores. It takes isolation namespaces, in which programs have their
    own, and `hostUsers: true`."""
    seccompProfile: SeccompProfile = {}
    """The pod's seccomp profile; empty takes RuntimeDefault for `uid` and Unconfined for `namespaces`. Better
    for the latter is the profile deploy/docker/reward-seccomp.json on every node: `{type: Localhost,
    localhostProfile: profiles/reward-seccomp.json}`."""
    cpu: Cpu = "4"
    """CPUs of a pod, requested and at most."""
    memory: Bytes = "8Gi"
    """Memory of a pod: slots x `reward.memory_mb`, twice for split judges, and 1 GiB."""
    drainSeconds: Count = 60
    """After SIGTERM, for open batches to finish."""
    token: TokenSecret = TokenSecret()
    autoscaling: Scaling = Scaling()
    disruptionBudget: DisruptionBudget = DisruptionBudget()
    networkPolicy: RewardNetwork = RewardNetwork()


class PasswordSecret(TokenSecret):
    name: Reference = ""
    """A Secret with the password (letters, digits, - and _, as it becomes part of an address); empty makes one
    and keeps it through upgrades. Name one where manifests are made by `helm template`."""
    key: Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$")] = "password"
    """The key in it."""


class UrlSecret(SecretKey):
    name: Reference = ""
    """A Secret with the whole address, password included, in place of `url`."""
    key: Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$")] = "url"
    """The key in it."""


class CertificateSecret(SecretKey):
    name: Reference = ""
    """A Secret with the certificate (PEM) of the authority that signed the server's, for `rediss://`; empty
    trusts those of the image."""
    key: Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$")] = "ca.crt"
    """The key in it."""


class ExternalRedis(Part):
    url: Annotated[str, Field(pattern=r"^(rediss?://\S+)?$")] = ""
    """Address of a Redis without a user and password, redis://host:port/db, or rediss:// with TLS, for
    `redis.enabled: false`."""
    secret: UrlSecret = UrlSecret()
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Its port, for the NetworkPolicy, where the address is in a Secret: 6379 unless given. That of `url` is
    read from it."""
    certificateAuthority: CertificateSecret = CertificateSecret()


class RedisExporter(Part):
    enabled: bool = False
    """Run redis_exporter beside the server, and let Prometheus scrape it."""
    image: Image = Image(repository="docker.io/oliver006/redis_exporter", tag="v1.93.0")


class Redis(Pod):
    """The streams between rollouts, rewards and learner. What is in them outlives a restart."""

    enabled: bool = True
    """Run a Redis-compatible server of the release's own; else `redis.external` names one."""
    image: Image = Image(repository="docker.io/valkey/valkey", tag="9.1.2")
    password: PasswordSecret = PasswordSecret()
    hostNetwork: bool = False
    """Use the node's network: port 6379 is then the node's, and the password alone keeps others out, as no
    NetworkPolicy holds for it."""
    appendfsync: Literal["always", "everysec", "no"] = "everysec"
    """How often the append-only file is forced to disk."""
    cpu: Cpu = "1"
    """CPUs, requested and at most."""
    memory: Bytes = "4Gi"
    """Memory. The server stores data in 70 % of it, as rewriting the append-only file takes memory too. Streams
    block their producers when full; nothing is evicted."""
    size: Bytes = "20Gi"
    """Size of its volume, which outlives `helm uninstall`."""
    storageClassName: Reference = ""
    """StorageClass of the volume; empty takes the cluster's default."""
    drainSeconds: Count = 900
    """Seconds that a server whose pod is taken away waits for the run to end, since a run that stops writes its
    checkpoint first: more than `ray.stopSeconds`."""
    exporter: RedisExporter = RedisExporter()
    external: ExternalRedis = ExternalRedis()


class Storage(Part):
    """The volume that all Ray pods share: run folders, checkpoints, model cache, your tasks."""

    existingClaim: Reference = ""
    """A PersistentVolumeClaim that exists; empty makes one, which outlives `helm uninstall`."""
    size: Bytes = "500Gi"
    """Size of the claim."""
    storageClassName: Reference = ""
    """StorageClass of the claim; empty takes the cluster's default, which is rarely one for several nodes."""
    accessModes: Annotated[list[Literal["ReadWriteMany", "ReadWriteOnce"]], Field(min_length=1)] = [
        "ReadWriteMany"
    ]
    """ReadWriteMany for several nodes; ReadWriteOnce does where all pods share one."""
    mountPath: Annotated[str, Field(pattern=r"^/[^\s:]*[^\s:/]$")] = "/runs"
    """Where it is mounted. The run's folder is mountPath/RUN_ID, the model cache mountPath/huggingface."""


class Scrapes(Part):
    enabled: bool = False
    """Make PodMonitors for Ray, a ServiceMonitor for the reward service and a ScrapeConfig for the run's
    processes; they need the Prometheus operator."""
    labels: Labels = {}
    """Labels by which your Prometheus selects them, such as `release: kube-prometheus-stack`."""
    interval: Duration = "15s"
    """Between two scrapes."""


class PlainScrapeConfig(Part):
    enabled: bool = True
    """Make a ConfigMap with the same as plain `scrape_configs`, for a Prometheus without the operator."""


class Rules(Part):
    enabled: bool = False
    """Make a PrometheusRule of the alerts; it needs the Prometheus operator."""
    labels: Labels = {}
    """Labels by which your Prometheus selects it."""
    runbooks: Url = ""
    """Where your readers find these docs, such as `https://docs.example.com/couplet`: each alert then has a
    `runbook_url`, in place of a path in the repository."""


class Dashboards(Part):
    enabled: bool = False
    """Make a ConfigMap for each dashboard, which Grafana's sidecar loads."""
    namespace: Reference = ""
    """Where Grafana's sidecar looks for them; empty is the release's namespace."""
    labels: Labels = {"grafana_dashboard": "1"}
    """Labels by which the sidecar selects them."""
    annotations: Annotations = {}
    """Annotations, such as the sidecar's folder."""


class Monitoring(Part):
    operator: Scrapes = Scrapes()
    scrapeConfig: PlainScrapeConfig = PlainScrapeConfig()
    rules: Rules = Rules()
    dashboards: Dashboards = Dashboards()
    prometheusUrl: Url = ""
    """Prometheus as the cluster reaches it, for the graphs in Ray's dashboard."""
    grafanaUrl: Url = ""
    """Grafana as the cluster reaches it."""
    grafanaBrowserUrl: Url = ""
    """Grafana as your browser reaches it, to be embedded in Ray's dashboard."""
