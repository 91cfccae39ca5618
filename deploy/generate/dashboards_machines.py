"""The Machines dashboard: GPUs, nodes and Ray, as exporters tell of them that are not ours."""

from __future__ import annotations

from deploy.generate.dashboards_panels import Board, Choice, Panel, graph
from deploy.generate.queries import Query

_NO_GPUS = "No series of NVIDIA's DCGM exporter. docs/metrics.md says what this dashboard needs."
_NO_NODES = "No series of the node exporter. docs/metrics.md says what this dashboard needs."
_NO_RAY = "No series of Ray. docs/metrics.md says what this dashboard needs."
#: A node's own disks and networks; those of containers are left out.
_DISKS = 'fstype!~"tmpfs|ramfs|overlay|squashfs"'
_NETWORKS = 'device!~"lo|veth.*|cali.*|cni.*|flannel.*|cilium.*|lxc.*|docker.*|br-.*"'
_WINDOW = "[$__rate_interval]"


def board() -> Board:
    return Board(
        "Machines",
        "GPUs, nodes and Ray, from the exporters of DCGM and of nodes and from Ray itself.",
        {"Ray": _ray(), "Ray's object store": _object_store(), "GPUs": _gpus(), "Nodes": _nodes()},
        (
            Choice("namespace", "Namespace", "ray_node_cpu_count", everything=".*"),
            Choice("ray_node", "Ray node", "ray_node_cpu_count", of="ip", everything=".*"),
            Choice("node", "Node", "node_uname_info", of="nodename", everything=".*"),
        ),
    )


def _of_ray(name: str, *matchers: str, address: str = "NodeAddress") -> str:
    """Series of Ray's chosen nodes, which have a node's address in one of two labels."""
    chosen = ",".join(['namespace=~"$namespace"', f'{address}=~"$ray_node"', *matchers])
    return f"{name}{{{chosen}}}"


def _ray() -> list[Panel]:
    cpus = _of_ray("ray_node_cpu_count", address="ip")
    busy = _of_ray("ray_node_cpu_utilization", address="ip")
    used, size = (_of_ray(f"ray_node_mem_{what}", address="ip") for what in ("used", "total"))
    # Ray's control store counts all actors, whichever node they are on.
    actors = 'ray_actors{namespace=~"$namespace",Source="gcs"}'
    waiting = _of_ray("ray_tasks", 'State!~"FINISHED|FAILED"')
    resources = _of_ray("ray_resources", 'Name=~"CPU|GPU"')
    return [
        _panel(
            "Nodes", Query(f"count by (namespace, RayNodeType) ({cpus})", "{{namespace}} {{RayNodeType}}"), _NO_RAY
        ),
        _panel(
            "Actors by state", Query(f"sum by (namespace, State) ({actors})", "{{namespace}} {{State}}"), _NO_RAY
        ),
        _panel(
            "Tasks that wait or run",
            Query(f"clamp_min(sum by (namespace, State) ({waiting}), 0)", "{{namespace}} {{State}}"),
            _NO_RAY,
            note="Calls of actors' methods too. Ray's count of a state may fall below 0 for a moment.",
        ),
        _panel(
            "Logical CPUs and GPUs",
            Query(f"sum by (namespace, Name, State) ({resources})", "{{namespace}} {{Name}} {{State}}"),
            _NO_RAY,
            note="What actors have asked for, of what Ray may give.",
        ),
        _panel(
            "CPUs of a node",
            Query(f"max by (namespace, ip) ({busy})", "{{namespace}} {{ip}}"),
            _NO_RAY,
            "percent",
            note="Busy, as Ray sees it.",
        ),
        _panel(
            "Memory of a node",
            Query(f"max by (namespace, ip) ({used} / {size})", "{{namespace}} {{ip}}"),
            _NO_RAY,
            "percentunit",
            note="Used, of the pod's limit where there is one. Ray ends workers at 95 %.",
        ),
    ]


def _object_store() -> list[Panel]:
    stored = _of_ray("ray_object_store_memory", 'Location!="WORKER_HEAP"')
    used = _of_ray("ray_resources", 'Name="object_store_memory"', 'State="USED"')
    size = _of_ray("ray_resources", 'Name="object_store_memory"')
    kept = "namespace, NodeAddress"
    return [
        _panel(
            "Objects by place",
            Query(f"sum by (namespace, Location) ({stored})", "{{namespace}} {{Location}}"),
            _NO_RAY,
            "bytes",
            12,
            "In shared memory, on disk for lack of it, or spilled to disk because the store was full.",
        ),
        _panel(
            "Object store of a node",
            Query(f"sum by ({kept}) ({used}) / sum by ({kept}) ({size})", "{{namespace}} {{NodeAddress}}"),
            _NO_RAY,
            "percentunit",
            12,
            "Used. A store that is full spills, which is slow.",
        ),
    ]


def _gpus() -> list[Panel]:
    return [
        _gpu("Utilization", "GPU_UTIL", "percent", "Share of the time in which any kernel ran."),
        _gpu(
            "Tensor cores",
            "PIPE_TENSOR_ACTIVE",
            "percentunit",
            "Share of the cycles they worked.",
            "PROF",
        ),
        _gpu("Memory used", "FB_USED", "mbytes", "Of the GPU's own memory."),
        _gpu("Power", "POWER_USAGE", "watt", "Draw."),
        _gpu("Temperature", "GPU_TEMP", "celsius", "Of the chip."),
        _gpu("Last XID error", "XID_ERRORS", "none", "0: none. NVIDIA's list says what a number means."),
    ]


def _gpu(title: str, field: str, unit: str, note: str, family: str = "DEV") -> Panel:
    """A figure of every GPU. Releases of the exporter name a node's label Hostname or hostname."""
    name = f"DCGM_FI_{family}_{field}"
    chosen = f'({name}{{Hostname=~"$node"}} or {name}{{hostname=~"$node"}})'
    named = f'label_replace({chosen}, "hostname", "$1", "Hostname", "(.+)")'
    query = Query(f"max by (hostname, gpu, pod) ({named})", "{{hostname}} GPU {{gpu}} {{pod}}")
    return _panel(title, query, _NO_GPUS, unit, note=note)


def _nodes() -> list[Panel]:
    idle = f'avg by (instance) (rate(node_cpu_seconds_total{{mode="idle"}}{_WINDOW}))'
    memory = (f"max by (instance) (node_memory_{what}_bytes)" for what in ("MemAvailable", "MemTotal"))
    space = (f"min by (instance, device) (node_filesystem_{w}_bytes{{{_DISKS}}})" for w in ("avail", "size"))
    return [
        _panel("CPUs", _node(f"1 - {idle}"), _NO_NODES, "percentunit", note="Busy."),
        _panel("Memory", _node(f"1 - {' / '.join(memory)}"), _NO_NODES, "percentunit", note="Used."),
        _panel("Disks", _node(f"1 - {' / '.join(space)}", "device"), _NO_NODES, "percentunit", note="Used."),
        graph(
            "Network",
            _node(_rate("node_network_receive_bytes_total", _NETWORKS), said="received"),
            _node(_rate("node_network_transmit_bytes_total", _NETWORKS), said="sent"),
            unit="binBps",
            width=12,
            note="Of the node's own interfaces.",
            absent=_NO_NODES,
        ),
        graph(
            "Disk throughput",
            _node(_rate("node_disk_read_bytes_total"), said="read"),
            _node(_rate("node_disk_written_bytes_total"), said="written"),
            unit="binBps",
            width=12,
            note="Of all disks.",
            absent=_NO_NODES,
        ),
    ]


def _rate(counter: str, matchers: str = "") -> str:
    return f"sum by (instance) (rate({counter}{{{matchers}}}{_WINDOW}))"


def _node(value: str, *labels: str, said: str = "") -> Query:
    """A value of every exporter, under the name of its node."""
    names = 'max by (instance, nodename) (node_uname_info{nodename=~"$node"})'
    legend = " ".join(["{{nodename}}", *(f"{{{{{label}}}}}" for label in labels), *([said] if said else [])])
    return Query(f"({value}) * on (instance) group_left (nodename) {names}", legend)


def _panel(title: str, query: Query, absent: str, unit: str = "none", width: int = 8, note: str = "") -> Panel:
    return graph(title, query, unit=unit, width=width, note=note or title, absent=absent)
