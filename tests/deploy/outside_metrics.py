"""Metrics of exporters that are not ours, as the Machines dashboard asks for them: names and labels.

Those of Ray and of the node exporter are seen on a real scrape in test_end_to_end.py. DCGM's need a GPU: its names
are those that etc/default-counters.csv of NVIDIA/dcgm-exporter 4.5.3-4.8.2 exports by default.
"""

from __future__ import annotations

from itertools import product

_NODE = {"instance": "10.0.0.7:9100"}
_RAY_NODE = {"ip": "10.0.0.7", "RayNodeType": "head"}
_RAYLET = {"NodeAddress": "10.0.0.7"}
#: The exporter named a node's label Hostname until 4.8.2, and hostname since.
_GPUS = tuple({name: "gpu-node-1", "gpu": gpu, "pod": ""} for name, gpu in product(("Hostname", "hostname"), "01"))

#: Name of a series -> the labels of its samples.
OUTSIDE: dict[str, tuple[dict[str, str], ...]] = {
    "DCGM_FI_DEV_GPU_UTIL": _GPUS,
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": _GPUS,
    "DCGM_FI_DEV_FB_USED": _GPUS,
    "DCGM_FI_DEV_POWER_USAGE": _GPUS,
    "DCGM_FI_DEV_GPU_TEMP": _GPUS,
    "DCGM_FI_DEV_XID_ERRORS": _GPUS,
    "node_uname_info": ({**_NODE, "nodename": "gpu-node-1"},),
    "node_cpu_seconds_total": ({**_NODE, "cpu": "0", "mode": "idle"},),
    "node_memory_MemAvailable_bytes": (_NODE,),
    "node_memory_MemTotal_bytes": (_NODE,),
    "node_filesystem_avail_bytes": ({**_NODE, "device": "/dev/vda1", "fstype": "ext4"},),
    "node_filesystem_size_bytes": ({**_NODE, "device": "/dev/vda1", "fstype": "ext4"},),
    "node_network_receive_bytes_total": ({**_NODE, "device": "eth0"},),
    "node_network_transmit_bytes_total": ({**_NODE, "device": "eth0"},),
    "node_disk_read_bytes_total": ({**_NODE, "device": "nvme0n1"},),
    "node_disk_written_bytes_total": ({**_NODE, "device": "nvme0n1"},),
    "ray_node_cpu_count": (_RAY_NODE,),
    "ray_node_cpu_utilization": (_RAY_NODE,),
    "ray_node_mem_used": (_RAY_NODE,),
    "ray_node_mem_total": (_RAY_NODE,),
    "ray_actors": ({**_RAYLET, "Source": "gcs", "State": "ALIVE"},),
    "ray_tasks": ({**_RAYLET, "State": "RUNNING"},),
    "ray_resources": tuple(
        {**_RAYLET, "Name": name, "State": state}
        for name, state in product(("CPU", "GPU", "object_store_memory"), ("USED", "AVAILABLE"))
    ),
    "ray_object_store_memory": ({**_RAYLET, "Location": "MMAP_SHM"}, {**_RAYLET, "Location": "SPILLED"}),
}
