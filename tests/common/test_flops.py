"""The count of operations, against those that PyTorch counts while a model runs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from common.flops import TRAINING_PASSES, forward_flops, model_flop_utilization, peak_tflops, training_flops
from common.models.config import ModelConfig
from common.models.packing import Packing
from common.models.spared_rows import SparedRows
from common.models.transformer import MaskedDiffusionModel, initialize

_SHAPES = {
    "attention weighs most": {"hidden_size": 32, "intermediate_size": 16, "num_key_value_heads": 4},
    "grouped keys, wide layers": {"hidden_size": 64, "intermediate_size": 384, "num_key_value_heads": 2},
}


def counted(config: ModelConfig, lengths: list[int], ids: Tensor, scored: Tensor) -> tuple[int, int]:
    """What PyTorch counts of a forward pass, and of one with its backward pass; attention as plain products."""
    model = MaskedDiffusionModel(config)
    initialize(model, torch.Generator().manual_seed(0))
    packing = Packing.of(lengths, torch.device("cpu"))
    spared = SparedRows.of(ids, packing, scored)
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward, torch.no_grad():
            model.logits(model.hidden(ids, packing, scored, spared=spared))
        with FlopCounterMode(display=False) as both:
            loss = F.cross_entropy(model.logits(model.hidden(ids, packing, scored, spared=spared)), ids[scored])
            torch.autograd.backward(loss)
    return forward.get_total_flops(), both.get_total_flops()


@pytest.mark.parametrize("words", [300, 12])
@pytest.mark.parametrize("layers", [3, 1])
@pytest.mark.parametrize(
    ("shape", "tied", "lengths", "rows"),
    [
        ("attention weighs most", True, [96], 96),
        ("attention weighs most", True, [7, 40, 40], 31),
        ("grouped keys, wide layers", False, [7, 40, 40], 31),
        ("grouped keys, wide layers", True, [7, 40, 40], 31),
    ],
)
def test_flops_are_those_that_pytorch_counts(
    shape: str, tied: bool, lengths: list[int], rows: int, layers: int, words: int
) -> None:
    special = {"mask_token_id": 1, "eos_token_id": 0, "pad_token_id": 0}
    depth = {"num_hidden_layers": layers, "num_attention_heads": 4, "tie_word_embeddings": tied}
    config = ModelConfig.model_validate({"vocab_size": 300, **special, **depth, **_SHAPES[shape]})
    ids = torch.randint(3, words, (sum(lengths),))
    scored = torch.randperm(sum(lengths))[:rows].sort().values
    forward, both = counted(config, lengths, ids, scored)
    owner = torch.repeat_interleave(torch.tensor(lengths))
    asked = owner[scored].bincount(minlength=len(lengths)).tolist()
    different = len(ids.unique()) if words < 20 else None  # few of the others come twice
    found = forward_flops(config, lengths, rows, different=different, asked=asked)
    assert found == pytest.approx(forward, rel=0.01)
    assert TRAINING_PASSES * found == pytest.approx(both, rel=0.01)


def test_what_is_left_out_is_left_out_of_the_count() -> None:
    layers = {"num_hidden_layers": 2, "num_attention_heads": 4, "tie_word_embeddings": True}
    special = {"mask_token_id": 1, "eos_token_id": 0, "pad_token_id": 0}
    shape = _SHAPES["attention weighs most"]
    config = ModelConfig.model_validate({"vocab_size": 300, **special, **layers, **shape})
    whole = forward_flops(config, [40, 40], 10)
    assert training_flops(config, [40, 40], 10) == 3 * whole
    assert forward_flops(config, [40, 40], 10, different=20) == whole - 60 * 2 * 32 * 96
    assert forward_flops(config, [40, 40], 10, asked=[8, 2]) == whole - 70 * 2 * 32 * 32 - 4 * 32 * 40 * 70


@pytest.mark.parametrize(
    ("name", "bfloat16", "float32"),
    [
        ("NVIDIA A100-SXM4-80GB", 312.0, 19.5),
        ("NVIDIA H100 80GB HBM3", 989.0, 67.0),
        ("NVIDIA H100 PCIe", 756.0, 51.0),
        ("NVIDIA H200", 989.0, 67.0),
        ("NVIDIA B200", 2250.0, 75.0),
        ("Tesla T4", None, None),
    ],
)
def test_peaks_are_found_by_the_name_of_the_device(
    name: str, bfloat16: float | None, float32: float | None
) -> None:
    assert (peak_tflops(name, "bfloat16"), peak_tflops(name, "float32")) == (bfloat16, float32)


def test_utilization_is_the_share_of_the_peak() -> None:
    assert model_flop_utilization(4e14, 2.0, 1000.0) == pytest.approx(0.2)
