"""The typed values of the Helm chart: values.yaml, its schema and the table in its README are made from this."""

# ruff: noqa: N815, RUF012 - fields are spelled as Kubernetes spells its own; pydantic copies defaults

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from common.config import Config
from deploy.generate.chart_fields import (
    Annotations,
    Bytes,
    Count,
    Cpu,
    ExistingName,
    Labels,
    Positive,
    Reference,
)
from deploy.generate.chart_pods import (
    Additions,
    Head,
    Image,
    LearnerPool,
    Part,
    RolloutPool,
    SecretKey,
    WorkerGroup,
)
from deploy.generate.chart_services import Monitoring, Redis, Rewards, Storage

RAY_VERSION = "2.60.0"
#: KubeRay refuses longer names of a RayJob than 47, and the learner's actors are named after the run.
_RUN_ID = r"^([a-z]([-a-z0-9]*[a-z0-9])?)?$"
_DNS_LABEL = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=40)]
Override = Annotated[str, Field(pattern=r"^[a-z_]+(\.[a-z_]+)+=")]


class Run(Part):
    id: Annotated[str, Field(pattern=_RUN_ID, max_length=40)] = ""
    """Names the run, its folder and its streams; empty takes the release's full name. A new one is a new run;
    the same one goes on where it stopped."""


class Packages(Part):
    """Packages that pip installs when a pod starts, before Ray or the reward service."""

    install: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9][^\s]*$", max_length=200)]] = []
    """Requirements, such as `sacrebleu==2.5.1`, in an init container with the pod's own image, its `env`,
    `envFrom` and volumes. Without what they need: name that too, so that nothing of the image is shadowed."""
    index: Annotated[str, Field(pattern=r"^(https?://[^\s@]+)?$")] = ""
    """A mirror in place of PyPI. One with a password: `PIP_INDEX_URL` from a Secret, in `env` of `ray` and
    `rewards`."""
    wheels: Annotated[str, Field(pattern=r"^(/[^\s:]+)?$")] = ""
    """A folder with wheels, on a volume of your own: then nothing is asked of an index."""


class Code(Part):
    """Python modules of your own, such as reward functions, for the run and the reward service."""

    files: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*[.]py$")], str] = {}
    """Text of each by its file's name; they go into a ConfigMap, which holds 1 MiB."""
    existingConfigMap: Reference = ""
    """A ConfigMap with such files, in place of `files`."""
    path: Annotated[str, Field(pattern=r"^/[^\s:]*[^\s:/]$")] = "/opt/couplet-code"
    """Where they lie, and what Python's path has: with `enabled`, the `mountPath` of a volume of your own in
    `ray` and `rewards`, which git-sync fills, or packages that pip installed there."""
    enabled: bool = False
    """Put `path` on Python's path though the chart mounts nothing there."""
    packages: Packages = Packages()


class Job(Part):
    """Of mode job."""

    backoffLimit: Count = 3
    """Retries. Each is a new cluster that resumes from the last checkpoint on the shared volume."""
    activeDeadlineSeconds: Positive | None = None
    """Seconds after which the job is ended; null is never."""
    preRunningDeadlineSeconds: Positive | None = None
    """Seconds that it may wait for its pods, while those that have come hold their GPUs; null is for ever (KubeRay
    1.6 or newer)."""
    ttlSecondsAfterFinished: Count | None = None
    """Seconds that the cluster of a job that has succeeded, or failed for good, stays for a look at Ray's
    dashboard. null: none where its pods have GPUs, which would be idle, and 600 elsewhere."""
    suspend: bool = False
    """Make the job suspended. Kueue does that itself."""


class Auth(Part):
    mode: Literal["token", "disabled"] = "token"
    """`token`: Ray's API asks for a token (Ray 2.52, KubeRay 1.5.1 or newer)."""
    secretName: Reference = ""
    """A Secret with the key `auth_token` (KubeRay 1.6 or newer); empty lets KubeRay make one, named as the
    cluster."""


class Autoscaling(Part):
    enabled: bool = True
    """Let Ray add and remove rollout pods between the pool's bounds."""
    idleTimeoutSeconds: Positive = 300
    """Seconds without an actor after which a pod is removed."""
    cpu: Cpu = "1"
    """CPUs of the autoscaler's container beside the head, at most; it asks for a quarter of one."""
    memory: Bytes = "1Gi"
    """Memory of the autoscaler's container."""
    upscalingMode: Literal["Default", "Aggressive", "Conservative"] = "Default"
    """How fast pods are added."""


class GcsFaultTolerance(Part):
    enabled: bool = False
    """Keep the state of Ray's head in a Redis, so that actors outlive it. It does not save a run, whose own
    process is on the head: that is what resuming is for."""
    redisAddress: str = ""
    """host:port of that Redis, which should not be the one of the streams."""
    password: SecretKey = SecretKey(key="password")


class Ray(Additions):
    """The Ray cluster, which KubeRay makes. What is added here, by `env` and the like, is added to all of its
    pods."""

    version: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")] = RAY_VERSION
    """Ray in the image; KubeRay asks for it."""
    image: Image = Image(repository="couplet-train")
    gpuResource: Annotated[
        str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9][-A-Za-z0-9._]*)?$")
    ] = "nvidia.com/gpu"
    """The resource by which nodes offer GPUs, such as `nvidia.com/mig-3g.40gb`. Empty where they come by
    `resourceClaims`, of which `gpusPerPod` then says how many GPUs they bring."""
    placement: Literal["separate", "shared"] = "separate"
    """Where rollout workers stand (`rollout.placement`): `separate`, in pods of the pool `rollout`, or `shared`,
    each on the GPU of a rank of the learner, in turns with it. Then `rollout` makes no pods, there is a worker
    for each rank, and no staleness."""
    annotations: Annotations = {}
    """Annotations of the RayJob or RayCluster, such as those that KubeRay or Kueue read."""
    auth: Auth = Auth()
    autoscaling: Autoscaling = Autoscaling()
    gcsFaultTolerance: GcsFaultTolerance = GcsFaultTolerance()
    stopSeconds: Positive = 600
    """How long a stopped run may take to write a checkpoint (`ray job stop`, or the end of a pod of the head or
    the learner)."""
    schedulerName: Reference = ""
    """Scheduler of the Ray pods; empty takes the cluster's default."""
    head: Head = Head()
    learner: LearnerPool = LearnerPool()
    rollout: RolloutPool = RolloutPool()
    extraWorkerGroups: dict[_DNS_LABEL, WorkerGroup] = {}
    """Further groups of workers by name, with the fields of a pool, `minReplicas`, `maxReplicas`, `gpusPerPod`
    and `rayResources`."""


class Secrets(Part):
    """Secrets of the Ray pods, by reference."""

    huggingface: SecretKey = SecretKey(key="token")
    wandb: SecretKey = SecretKey(key="api-key")


class ServiceAccount(Part):
    create: bool = True
    """Make a ServiceAccount for the head; KubeRay gives it what the autoscaler needs, and no other pod has a
    token."""
    name: Reference = ""
    """Its name; empty takes the release's full name, or `default` if none is made."""
    annotations: Annotations = {}
    """Its annotations, such as those of a cloud's workload identity."""


class Kueue(Part):
    queueName: Reference = ""
    """LocalQueue that admits the job or cluster; empty is without Kueue."""


class ChartValues(Part):
    """All values of the chart."""

    mode: Literal["job", "cluster"] = "job"
    """`job`: the run itself (a RayJob). `cluster`: a RayCluster, to which you submit with `ray job submit`."""
    nameOverride: Annotated[str, Field(pattern=_RUN_ID, max_length=40)] = ""
    """In place of the chart's name in the names of objects."""
    fullnameOverride: Annotated[str, Field(pattern=_RUN_ID, max_length=40)] = ""
    """In place of the release's full name."""
    commonLabels: Labels = {}
    """Labels of every object."""
    fixedIds: bool = True
    """Run pods under the users of their images. false leaves user and groups to the cluster, such as to
    OpenShift's restricted-v2, which gives every namespace ids of its own."""
    imagePullSecrets: list[dict[Literal["name"], ExistingName]] = []
    """Secrets with which images are pulled."""
    run: Run = Run()
    recipe: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+\.yaml$")] | Config = "quickstart.yaml"
    """The recipe: the name of one in the image (/opt/couplet/recipes), or a recipe written out here. Numbers of
    workers, their GPUs, run.id, run.folder, streams.url and the like are the chart's to set."""
    overrides: list[Override] = []
    """Settings that replace the recipe's: `section.field=value`."""
    code: Code = Code()
    job: Job = Job()
    ray: Ray = Ray()
    rewards: Rewards = Rewards()
    redis: Redis = Redis()
    storage: Storage = Storage()
    secrets: Secrets = Secrets()
    monitoring: Monitoring = Monitoring()
    serviceAccount: ServiceAccount = ServiceAccount()
    kueue: Kueue = Kueue()
    extraObjects: list[str | dict[str, Any]] = []
    """More objects of the release, as mappings or text; both are rendered as templates."""
