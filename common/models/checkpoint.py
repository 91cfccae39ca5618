"""Weights from .safetensors files into a model, one tensor at a time, and into files, one shard at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from common.models.families import ModelError

#: Weights of more bytes are written in several files.
SHARD_BYTES = 4 << 30

_WHOLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_NAMED = 3
#: The end of the names of what transformers once stored in Llama checkpoints and computes from config.json.
_COMPUTED = ".rotary_emb.inv_freq"


@dataclass(frozen=True)
class _Entry:
    """The entry of a tensor in the header of a file."""

    path: Path
    shape: tuple[int, ...]
    dtype: str


def read_weights(folder: Path, parameters: Mapping[str, Tensor], ignored: Set[str] = frozenset()) -> None:
    """Copy the weights in ``folder`` into ``parameters``, which go by the checkpoint's own names.

    Raises :class:`ModelError`, before anything is copied, for a shard that is missing or cannot be read and for
    weights that are missing, of another shape or dtype, or neither in ``parameters`` nor ``ignored``.
    """
    found = _found(folder, {name: tuple(tensor.shape) for name, tensor in parameters.items()}, ignored)
    # A file that stays open keeps what was read of it in memory, so there is one open at a time.
    for path in sorted({entry.path for entry in found.values()}):
        names = [name for name in parameters if found[name].path == path]
        with safe_open(path, framework="pt") as file, torch.no_grad():
            for name in names:
                parameters[name].copy_(file.get_tensor(name))


class StoredWeights:
    """The weights in a folder, read one tensor at a time.

    ``shapes`` are those of the weights that are wanted, by the checkpoint's own names. Raises :class:`ModelError`
    as :func:`read_weights` does. ``dtype`` is the narrowest type that holds all of them exactly.
    """

    def __init__(
        self, folder: Path, shapes: Mapping[str, tuple[int, ...]], ignored: Set[str] = frozenset()
    ) -> None:
        found = _found(folder, shapes, ignored)
        self._paths = {name: found[name].path for name in shapes}
        self.dtype = reduce(torch.promote_types, (_DTYPES[found[name].dtype] for name in shapes))

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Yield names and tensors in the order of the shapes."""
        for name, path in self._paths.items():
            with safe_open(path, framework="pt") as file:
                yield name, file.get_tensor(name)


def write_weights(
    folder: Path, weights: Iterable[tuple[str, Tensor]], dtype: torch.dtype, shard_bytes: int = SHARD_BYTES
) -> None:
    """Write weights as ``dtype``, in one file, or in shards and an index that names them.

    Holds one shard at a time; a tensor of ``weights`` has to be valid only until the next is taken. A tensor that
    is larger than a shard becomes one.
    """
    parts: list[Path] = []
    weight_map: dict[str, int] = {}
    total = 0
    for shard in _in_shards(weights, dtype, shard_bytes):
        parts.append(folder / f"model.part-{len(parts)}")
        save_file(shard, parts[-1], metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, len(parts) - 1)
        total += sum(tensor.nbytes for tensor in shard.values())
    count = len(parts)
    names = [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    if count == 1:
        names = [_WHOLE]
    for part, name in zip(parts, names, strict=True):
        part.rename(folder / name)
    if count > 1:
        index = {
            "metadata": {"total_size": total},
            "weight_map": {name: names[number] for name, number in weight_map.items()},
        }
        (folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _in_shards(
    weights: Iterable[tuple[str, Tensor]], dtype: torch.dtype, shard_bytes: int
) -> Iterator[dict[str, Tensor]]:
    """Copies, by shard; what is yielded is emptied when the next is asked for."""
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in weights:
        needed = tensor.numel() * dtype.itemsize
        if shard and size + needed > shard_bytes:
            yield shard
            shard.clear()
            size = 0
        shard[name] = torch.empty(tensor.shape, dtype=dtype).copy_(tensor.detach())
        size += needed
    if shard:
        yield shard


def shards(folder: Path) -> list[Path]:
    """The .safetensors files of a checkpoint: those its index names, else all. Raises :class:`ModelError`."""
    index = folder / _INDEX
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{index}: is not an index of weights: {error!r}; fetch it again") from error
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ModelError(f"{index}: names {missing[:_NAMED]}, which the folder lacks; fetch these shards")
        return [folder / name for name in names]
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder}: holds no .safetensors file; convert the weights to that format")
    return files


def _found(folder: Path, shapes: Mapping[str, tuple[int, ...]], ignored: Set[str]) -> dict[str, _Entry]:
    """Return the entries of the weights in ``folder``, which must be those of ``shapes``."""
    found: dict[str, _Entry] = {}
    for path in shards(folder):
        found |= _entries(path)
    found = {name: e for name, e in found.items() if name not in ignored and not name.endswith(_COMPUTED)}
    _check(folder, found, shapes)
    return found


def _entries(path: Path) -> dict[str, _Entry]:
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            heads = {name: file.get_slice(name) for name in names}
            return {name: _Entry(path, tuple(head.get_shape()), head.get_dtype()) for name, head in heads.items()}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: cannot be read: {error}; fetch it again") from error


def _check(folder: Path, found: Mapping[str, _Entry], shapes: Mapping[str, tuple[int, ...]]) -> None:
    missing = sorted(shapes.keys() - found.keys())
    unexpected = sorted(found.keys() - shapes.keys())
    both = sorted(shapes.keys() & found.keys())
    misshapen = [
        f"{name} {found[name].shape} instead of {shapes[name]}"
        for name in both
        if found[name].shape != shapes[name]
    ]
    other_dtypes = [f"{name} {found[name].dtype}" for name in both if found[name].dtype not in _DTYPES]
    problems = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": misshapen,
        "of a dtype that is not implemented": other_dtypes,
    }
    if any(problems.values()):
        listed = "; ".join(
            f"{len(names)} {problem}: {', '.join(names[:_NAMED])}{', ...' if len(names) > _NAMED else ''}"
            for problem, names in problems.items()
            if names
        )
        raise ModelError(f"{folder}: weights do not fit config.json: {listed}; take both from one checkpoint")
