"""The exported weights of two runs, compared bit for bit."""

from __future__ import annotations

import json
from pathlib import Path


def differing_weights(folder: Path, other: Path) -> list[str]:
    """Return the names of the tensors in which the exported weights of two runs differ, in any bit."""
    ours, theirs = (_tensors(run / "model") for run in (folder, other))
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def _tensors(model: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Return dtype, shape and bytes of every tensor of a model folder, by name."""
    found = {}
    for file in model.glob("*.safetensors"):
        data = file.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")  # the length of the header, and the header
        for name, entry in json.loads(data[8:start]).items():
            if name != "__metadata__":
                first, last = (start + offset for offset in entry["data_offsets"])
                found[name] = (entry["dtype"], entry["shape"], data[first:last])
    return found
