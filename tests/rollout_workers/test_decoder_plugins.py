"""A decoder from outside: named in the recipe, found by the engine, and checked in what it returns."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from common.config import Config, ConfigError, load_config
from common.models.transformer import MaskedDiffusionModel
from common.plugins import PluginError
from common.records import Completion, NoiseKey, Sampler
from rollout_workers.backends.registry import build_backend
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine
from rollout_workers.requests import Request

MakeModel = Callable[..., MaskedDiffusionModel]

SOURCE = """
import torch

def from_the_right(candidates):
    return candidates.positions.double()

def certain_first(candidates):
    return -candidates.entropies()

def widest_margin(candidates):
    return candidates.margins()

def one_number(candidates):
    return candidates.logits.sum()

def token_ids(candidates):
    return candidates.logits.argmax(-1)

def not_a_number(candidates):
    return candidates.logits.sum(-1) * 0 + float("nan")

NO_FUNCTION = 3
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module on the path, and a package that offers one of its decoders."""
    (tmp_path / "outside_decoders.py").write_text(SOURCE)
    metadata = tmp_path / "outside_decoders-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-decoders\nVersion: 1.0\n")
    points = "[couplet.plugins]\ndecoder.rightmost = outside_decoders:from_the_right\n"
    (metadata / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("outside_decoders", None)


def sampler(**fields: object) -> Sampler:
    return Sampler.model_validate({"denoising_steps": 7, "completion_length": 14} | fields)


def run(model: MaskedDiffusionModel, setting: Sampler, batch_tokens: int = 16384) -> list[Completion]:
    requests = [Request(tuple(range(2, 4 + i)), NoiseKey(1, "noise-train", (0, i, 0))) for i in range(8)]
    return DenoisingEngine(TorchDenoiser(model), batch_tokens).run(requests, setting)


@pytest.mark.parametrize("name", ["outside_decoders:from_the_right", "rightmost"])
@pytest.mark.parametrize("block", [0, 7])
def test_it_decides_which_positions_a_step_commits(make_model: MakeModel, name: str, block: int) -> None:
    model, setting = make_model(vocab_size=12), sampler(decoder=name, block_length=block, denoising_steps=14)
    completions = run(model, setting)
    width = block or 14
    rightmost_first = [start + width - 1 - k for start in range(0, 14, width) for k in range(width)]
    for completion in completions:
        committed = [step for step in completion.step_map if step >= 0]
        assert committed == rightmost_first[: len(committed)]
    assert [c.completion_ids for c in run(model, setting, batch_tokens=40)] == [
        c.completion_ids for c in completions
    ]


@pytest.mark.parametrize(("ours", "theirs"), [("entropy", "certain_first"), ("topk_margin", "widest_margin")])
def test_a_copy_of_a_built_in_decoder_is_the_same(make_model: MakeModel, ours: str, theirs: str) -> None:
    model = make_model(vocab_size=12)
    copy = run(model, sampler(decoder=f"outside_decoders:{theirs}", decoder_temperature=0.3))
    assert copy == run(model, sampler(decoder=ours, decoder_temperature=0.3))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("one_number", r"'outside_decoders:one_number' returned torch.float32 of \[\]; return one floating-point"),
        ("token_ids", r"returned torch.int64 of"),
        ("not_a_number", "returned a confidence that is not finite"),
        ("NO_FUNCTION", "is no function"),
        ("missing", "'outside_decoders' has no 'missing'"),
    ],
)
def test_a_decoder_that_is_none_is_an_error_that_names_it(make_model: MakeModel, name: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        run(make_model(vocab_size=12), sampler(decoder=f"outside_decoders:{name}"))


def config(tmp_path: Path, decoder: str) -> Config:
    recipe = {"model": {"path": "builtin:quickstart"}, "data": {"source": "synthetic"}}
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe | {"rollout": {"decoder": decoder}}))
    return load_config(path)


def test_a_recipe_names_it_and_an_unknown_name_lists_those_there_are(tmp_path: Path) -> None:
    assert config(tmp_path, "rightmost").rollout.sampler().decoder == "rightmost"
    assert config(tmp_path, "any_module:choose").rollout.decoder == "any_module:choose"
    with pytest.raises(ConfigError, match=r"rollout\.decoder: 'magic' is no decoder .* entropy, .* rightmost"):
        config(tmp_path, "magic")


def test_a_worker_cannot_start_without_it(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="cannot import 'no_such_module'"):
        build_backend(config(tmp_path, "no_such_module:choose"))


def test_it_has_no_published_schedule() -> None:
    with pytest.raises(ValueError, match="upstream: the rightmost decoder has no published schedule"):
        sampler(decoder="rightmost", upstream=True)
