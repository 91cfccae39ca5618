"""The exported weights of two runs, compared bit for bit."""

from __future__ import annotations

from pathlib import Path

from safetensors import deserialize


def differing_weights(folder: Path, other: Path) -> list[str]:
    """Return the names of the tensors in which the exported weights of two runs differ, in any bit."""
    ours, theirs = (_tensors(run / "model") for run in (folder, other))
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def _tensors(model: Path) -> dict[str, dict[str, object]]:
    """Return dtype, shape and bytes of every tensor of a model folder, by name."""
    found = {}
    for file in model.glob("*.safetensors"):
        found.update(deserialize(file.read_bytes()))  # type: ignore[no-untyped-call]
    return found
