"""Weights written in shards: what transformers and our own loader read, with one shard in memory."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM

from common.models import checkpoint as module
from common.models.folder import model_folder
from common.models.loading import load_model, save_model
from common.models.transformer import MaskedDiffusionModel

MakeModel = Callable[..., MaskedDiffusionModel]
BUILTIN = model_folder("builtin:quickstart")
SHARD = 20_000


def save(model: MaskedDiffusionModel, folder: Path, shard_bytes: int = SHARD) -> None:
    save_model(model.config, model.named_parameters(), folder, BUILTIN, shard_bytes=shard_bytes)


def weight_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if "model" in path.name)


@pytest.mark.parametrize("tied", [True, False])
def test_shards_load_bit_for_bit_with_our_loader_and_with_transformers(
    make_model: MakeModel, tmp_path: Path, tied: bool
) -> None:
    model = make_model(vocab_size=448, tie_word_embeddings=tied)
    save(model, tmp_path / "model")
    files = weight_files(tmp_path / "model")
    count = len(files) - 1
    assert count > 3
    assert files == [
        *(f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)),
        "model.safetensors.index.json",
    ]
    ours = dict(load_model(str(tmp_path / "model")).named_parameters())
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model").state_dict()
    for name, parameter in model.named_parameters():
        assert torch.equal(ours[name], parameter), name
        assert torch.equal(theirs[name], parameter), name


def test_the_index_says_where_every_tensor_is_and_no_shard_is_too_large(
    make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model()
    save(model, tmp_path / "model")
    index = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text())
    sizes = {name: parameter.nbytes for name, parameter in model.named_parameters()}
    assert index["weight_map"].keys() == sizes.keys()
    assert index["metadata"]["total_size"] == sum(sizes.values())
    for file in set(index["weight_map"].values()):
        with safe_open(tmp_path / "model" / file, framework="pt") as shard:
            names = set(shard.keys())
        assert names == {name for name, where in index["weight_map"].items() if where == file}
        assert sum(sizes[name] for name in names) <= SHARD


def test_one_file_where_all_fits_into_a_shard_and_a_tensor_larger_than_a_shard_is_one(
    make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model()
    total = sum(parameter.nbytes for parameter in model.parameters())
    save(model, tmp_path / "whole", total)
    assert weight_files(tmp_path / "whole") == ["model.safetensors"]
    save(model, tmp_path / "halves", total - 1)
    assert len(weight_files(tmp_path / "halves")) == 3
    save(model, tmp_path / "grains", 1)
    assert len(weight_files(tmp_path / "grains")) == len(list(model.parameters())) + 1
    for name in ("whole", "halves", "grains"):
        loaded = load_model(str(tmp_path / name))
        assert all(map(torch.equal, loaded.parameters(), model.parameters()))


def test_saving_again_leaves_no_shard_of_before(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    save(model, tmp_path / "model")
    save(model, tmp_path / "model", 1 << 20)
    assert weight_files(tmp_path / "model") == ["model.safetensors"]
    save(model, tmp_path / "model")
    assert "model.safetensors" not in weight_files(tmp_path / "model")
    assert all(map(torch.equal, load_model(str(tmp_path / "model")).parameters(), model.parameters()))


def test_what_a_killed_export_left_is_removed_by_the_next(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    for name in (".model.tmp", ".model.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.part-0").write_text("half")
    save(model, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_no_more_than_a_shard_is_held(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a ZeRO-3 engine gives is valid only until the next: the writer copies it, and lets its copies go."""
    model = make_model()
    copies: list[weakref.ref[Tensor]] = []
    most = 0
    save_file = module.save_file

    def spy(shard: dict[str, Tensor], *arguments: object, **options: object) -> None:
        copies.extend(weakref.ref(tensor) for tensor in shard.values())
        save_file(shard, *arguments, **options)

    def one_at_a_time() -> Iterator[tuple[str, Tensor]]:
        nonlocal most
        for name, parameter in model.named_parameters():
            shown = parameter.detach().clone()
            yield name, shown
            shown.fill_(float("nan"))
            held = sum(tensor.nbytes for tensor in (copy() for copy in copies) if tensor is not None)
            most = max(most, held)

    monkeypatch.setattr(module, "save_file", spy)
    save_model(model.config, one_at_a_time(), tmp_path / "model", BUILTIN, shard_bytes=SHARD)
    assert len(copies) == len(list(model.parameters()))
    assert most == 0, "a shard that was written is still held while the next is collected"
    assert all(map(torch.equal, load_model(str(tmp_path / "model")).parameters(), model.parameters()))
