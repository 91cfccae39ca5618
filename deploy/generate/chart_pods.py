"""The chart's values for pods: what Kubernetes lets one say of any pod, and the pools of the Ray cluster."""

# ruff: noqa: N815 - fields are spelled as Kubernetes spells its own

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from deploy.generate.chart_fields import (
    Affinity,
    Annotations,
    Bytes,
    Container,
    ContainerSecurity,
    Count,
    Cpu,
    Dns,
    Extended,
    Labels,
    Mount,
    PodSecurity,
    Positive,
    PullPolicy,
    Reference,
    ResourceClaim,
    Spread,
    Toleration,
    Variable,
    VariableSource,
    Volume,
)

#: A registry with or without a port, and a path; what follows a colon after that is the tag's.
_REPOSITORY = r"^(([a-z0-9][a-z0-9._-]*|\[[0-9a-f:]+\])(:[0-9]+)?/)?[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$"


_Whole = Annotated[str, Field(pattern=r"^[0-9]+$")]


class Part(BaseModel):
    """Base of every part of the values: closed, documented by the docstrings under its fields."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Image(Part):
    repository: Annotated[str, Field(pattern=_REPOSITORY)]
    """Where the image is, registry included, without the tag."""
    tag: Annotated[str, Field(pattern=r"^([\w][\w.-]{0,127})?$")] = ""
    """Its tag; empty takes the chart's appVersion. `latest` would make a retry run other code than the first
    try."""
    digest: Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$")] = ""
    """Its digest, `sha256:...`, which then says which image it is in place of the tag."""
    pullPolicy: PullPolicy = "IfNotPresent"
    """When nodes pull it."""


class SecretKey(Part):
    """A key of a Secret that exists already; without a name there is none."""

    name: Reference = ""
    """The Secret's name, in the release's namespace."""
    key: Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$")]
    """The key in it."""


class Additions(Part):
    """What is added to a pod and its container."""

    env: list[Variable] = []
    """More environment variables of the container, as Kubernetes writes them."""
    envFrom: list[VariableSource] = []
    """ConfigMaps and Secrets whose keys become environment variables of the container."""
    initContainers: list[Container] = []
    """Containers that run before the pod's own."""
    sidecarContainers: list[Container] = []
    """Containers beside the pod's own."""
    extraVolumes: list[Volume] = []
    """More volumes of the pod."""
    extraVolumeMounts: list[Mount] = []
    """Where the container mounts them."""


class Pod(Additions):
    """What Kubernetes lets one say of any pod; templates/_pods.tpl writes it."""

    nodeSelector: Labels = {}
    """Labels that a node must have."""
    tolerations: list[Toleration] = []
    """Taints of nodes that it tolerates."""
    affinity: Affinity = {}
    """Affinity of nodes and pods."""
    topologySpreadConstraints: list[Spread] = []
    """How pods are spread over nodes or zones."""
    priorityClassName: Reference = ""
    """PriorityClass of the pods; empty takes the cluster's default."""
    runtimeClassName: Reference = ""
    """RuntimeClass of the pods, such as `nvidia` or `gvisor`; empty takes the cluster's default."""
    dnsConfig: Dns = {}
    """Name servers, search domains and options of the pods, beside those of the cluster."""
    serviceAccountName: Reference = ""
    """A ServiceAccount that exists, such as one that a cloud lets read a bucket; empty takes the chart's for the
    head and the namespace's `default` for other pods. A token is mounted only for the head under the
    autoscaler; clouds that hand out identities through tokens mount their own."""
    podSecurityContext: PodSecurity = {}
    """Added to the pod's security context, and stronger than what the chart says."""
    securityContext: ContainerSecurity = {}
    """Added to the container's security context, and stronger than what the chart says; `capabilities: {add:
    [IPC_LOCK]}` lets RDMA lock memory."""
    resourceClaims: list[ResourceClaim] = []
    """Claims of dynamic resource allocation (Kubernetes 1.34): entries of the pod's `resourceClaims`. The
    container uses them all."""
    hostNetwork: bool = False
    """Use the node's network: the pod's ports are then the node's, and no NetworkPolicy holds for it."""
    hostIPC: bool = False
    """Use the node's shared memory and semaphores."""
    labels: Labels = {}
    """More labels of the pod."""
    annotations: Annotations = {}
    """Annotations of the pod."""


class RayPods(Pod):
    """Pods of the Ray cluster. Requests equal limits, so that Ray counts what the pod really has."""

    cpu: Cpu = "4"
    """CPUs of a pod."""
    memory: Bytes = "16Gi"
    """Memory of a pod; what lies in /dev/shm counts."""
    sharedMemory: Bytes = "4Gi"
    """Size of /dev/shm, in memory, where Ray's object store lies. New weights pass through it; with vLLM, the
    processes of a rollout worker talk through another 0.25 GB each."""
    rayStartParams: dict[Annotated[str, Field(pattern=r"^[a-z][-a-z]*$")], str] = {}
    """More options of `ray start`, such as `min-worker-port: "10002"`; those that the chart sets are refused."""
    extraResources: Extended = {}
    """More resources of the container, such as `rdma/hca: "1"`."""
    hostNetwork: bool = False
    """Use the node's network, which some RDMA set-ups need. Ray's ports are then the node's: one such pod of Ray
    on a node, and nothing else on them. The NetworkPolicies of Redis and of the reward service cannot tell it
    from the node, and admit everybody to their ports, which ask for a password and a token."""


class Head(RayPods):
    """The head: Ray's control, its dashboard and the run's own process. No actor is placed on it."""

    cpu: Cpu = "4"
    """CPUs of the head. The run's process admits prompts, writes the run folder and exports the model."""
    memory: Bytes = "16Gi"
    """Memory of the head; what lies in /dev/shm counts."""


class LearnerPool(RayPods):
    """The learner's pool: fixed, since a DeepSpeed group cannot change its size."""

    replicas: Positive = 1
    """Pods. The chart sets `learner.ranks` to replicas x ranksPerPod."""
    ranksPerPod: Positive = 1
    """DeepSpeed ranks of a pod."""
    gpusPerPod: Count = 0
    """GPUs of a pod, shared out evenly to its ranks (`learner.gpus_per_rank`)."""


class RolloutPool(RayPods):
    """The rollout workers' pool: elastic. The run starts with the smallest size and takes in what comes
    later."""

    minReplicas: Positive = 1
    """Pods with which the run starts (`rollout.min_workers` = minReplicas x workersPerPod)."""
    maxReplicas: Positive = 2
    """Pods at most (`rollout.workers` = maxReplicas x workersPerPod). The pool has this size from the start if
    `ray.autoscaling.enabled` is false."""
    workersPerPod: Positive = 1
    """Rollout workers of a pod."""
    gpusPerPod: Count = 0
    """GPUs of a pod, shared out evenly to its workers (`rollout.gpus_per_worker`); tensor_parallel_size x
    workersPerPod where they share a model in vLLM."""


class WorkerGroup(RayPods):
    """A further group of Ray workers, for actors of your own; nothing of the run is placed on it by name."""

    minReplicas: Count = 0
    """Pods at least."""
    maxReplicas: Count = 1
    """Pods at most."""
    gpusPerPod: Count = 0
    """GPUs of a pod."""
    rayResources: dict[Annotated[str, Field(pattern=r"^[a-z][-_a-z0-9]*$")], _Whole] = {}
    """Custom Ray resources of a pod, such as `{reranker: "1"}`."""
