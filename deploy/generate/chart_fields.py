"""Types of the chart's values: names, amounts, and what the chart passes on to the Kubernetes API.

What is passed on is closed, as the API's own message would name a place in a pod of Ray's and no value.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
#: What names a Kubernetes object that others refer to; empty where there is none.
Reference = Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", max_length=253)]
ExistingName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]

_KEY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
Key = Annotated[str, Field(pattern=_KEY)]
Labels = dict[Key, Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")]]
Annotations = dict[Key, str]
#: Further resources of a container, such as devices, in whole numbers or amounts.
Extended = dict[Key, Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$")]]

# More than nothing, in expressions that Go knows, which cannot look ahead.
_SOME = r"([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]*\.[0-9]*[1-9][0-9]*)"
_CPU = {"type": ["string", "number"], "pattern": rf"^{_SOME}m?$", "exclusiveMinimum": 0}
#: YAML reads `cpu: 4` as a number.
Cpu = Annotated[str | int | float, WithJsonSchema(_CPU)]
_BYTES = {
    "type": ["string", "integer"],
    "pattern": rf"^({_SOME}(k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)|[1-9][0-9]{{6,}})$",
    "minimum": 1_000_000,
}
#: An amount of memory or disk. A number alone is in bytes: below a million somebody has forgotten the unit.
Bytes = Annotated[str | int, WithJsonSchema(_BYTES)]


def _fields(names: str, required: str = "", **known: Any) -> Any:
    """A mapping of the API's with these fields; of those in ``known`` more is said."""
    properties = {name: known.get(name, {}) for name in names.split()}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return WithJsonSchema({**schema, "required": required.split()} if required else schema)


_TEXT = {"type": "string", "minLength": 1}
_CONTAINER = (
    "name image args command env envFrom imagePullPolicy lifecycle livenessProbe ports readinessProbe "
    "resizePolicy resources restartPolicy restartPolicyRules securityContext startupProbe stdin stdinOnce "
    "terminationMessagePath terminationMessagePolicy tty volumeDevices volumeMounts workingDir"
)
_NAME = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
_VARIABLE = _fields(
    "name value valueFrom",
    "name",
    name={"type": "string", "pattern": r"^[-._a-zA-Z][-._a-zA-Z0-9]*$"},
    value={"type": "string"},
    valueFrom=_fields("configMapKeyRef fieldRef fileKeyRef resourceFieldRef secretKeyRef").json_schema,
)
_MOUNT = _fields(
    "name mountPath mountPropagation readOnly recursiveReadOnly subPath subPathExpr",
    "name mountPath",
    name=_NAME,
    mountPath={"type": "string", "pattern": "^/[^:]*$"},
    readOnly={"type": "boolean"},
)
_SOURCE = _fields("prefix configMapRef secretRef")

_PORT = _fields(
    "containerPort hostIP hostPort name protocol",
    "containerPort",
    containerPort={"type": "integer", "minimum": 1, "maximum": 65535},
    name={"type": "string", "pattern": r"^[a-z0-9-]{1,15}$"},
    protocol={"enum": ["TCP", "UDP", "SCTP"]},
)
_VOLUME = (
    "name awsElasticBlockStore azureDisk azureFile cephfs cinder configMap csi downwardAPI emptyDir ephemeral fc "
    "flexVolume flocker gcePersistentDisk gitRepo glusterfs hostPath image iscsi nfs persistentVolumeClaim "
    "photonPersistentDisk portworxVolume projected quobyte rbd scaleIO secret storageos vsphereVolume"
)
_IDS = {name: {"type": "integer", "minimum": 0} for name in ("fsGroup", "runAsGroup", "runAsUser")}
_FLAG = {"type": "boolean"}

Volume = Annotated[dict[str, Any], _fields(_VOLUME, "name", name=_NAME)]
Variable = Annotated[dict[str, Any], _VARIABLE]
VariableSource = Annotated[dict[str, Any], _SOURCE]
Mount = Annotated[dict[str, Any], _MOUNT]
Container = Annotated[
    dict[str, Any],
    _fields(
        _CONTAINER,
        "name image",
        name=_NAME,
        image=_TEXT,
        env={"type": "array", "items": _VARIABLE.json_schema},
        envFrom={"type": "array", "items": _SOURCE.json_schema},
        ports={"type": "array", "items": _PORT.json_schema},
        volumeMounts={"type": "array", "items": _MOUNT.json_schema},
    ),
]
Toleration = Annotated[
    dict[str, Any],
    _fields(
        "key operator value effect tolerationSeconds",
        operator={"enum": ["Exists", "Equal", "Lt", "Gt"]},
        value={"type": "string"},
        effect={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
        tolerationSeconds={"type": "integer"},
    ),
]
Affinity = Annotated[dict[str, Any], _fields("nodeAffinity podAffinity podAntiAffinity")]
Spread = Annotated[
    dict[str, Any],
    _fields(
        "maxSkew topologyKey whenUnsatisfiable labelSelector matchLabelKeys minDomains nodeAffinityPolicy "
        "nodeTaintsPolicy",
        "maxSkew topologyKey whenUnsatisfiable",
        maxSkew={"type": "integer", "minimum": 1},
        topologyKey=_TEXT,
        whenUnsatisfiable={"enum": ["DoNotSchedule", "ScheduleAnyway"]},
    ),
]
Dns = Annotated[dict[str, Any], _fields("nameservers options searches")]
SeccompProfile = Annotated[dict[str, Any], _fields("type localhostProfile")]
PodSecurity = Annotated[
    dict[str, Any],
    _fields(
        "appArmorProfile fsGroup fsGroupChangePolicy runAsGroup runAsNonRoot runAsUser seLinuxChangePolicy "
        "seLinuxOptions seccompProfile supplementalGroups supplementalGroupsPolicy sysctls windowsOptions",
        **_IDS,
        runAsNonRoot=_FLAG,
    ),
]
ContainerSecurity = Annotated[
    dict[str, Any],
    _fields(
        "allowPrivilegeEscalation appArmorProfile capabilities privileged procMount readOnlyRootFilesystem "
        "runAsGroup runAsNonRoot runAsUser seLinuxOptions seccompProfile windowsOptions",
        allowPrivilegeEscalation=_FLAG,
        privileged=_FLAG,
        readOnlyRootFilesystem=_FLAG,
        runAsGroup=_IDS["runAsGroup"],
        runAsNonRoot=_FLAG,
        runAsUser=_IDS["runAsUser"],
    ),
]
ResourceClaim = Annotated[
    dict[str, Any], _fields("name resourceClaimName resourceClaimTemplateName", "name", name=_NAME)
]
EgressRule = Annotated[dict[str, Any], _fields("ports to")]
Peer = Annotated[dict[str, Any], _fields("ipBlock namespaceSelector podSelector")]
