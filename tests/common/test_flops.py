"""The count of operations, against those that PyTorch counts while a model runs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from common.flops import forward_flops, model_flop_utilization, peak_tflops, training_flops
from common.models.config import ModelConfig
from common.models.packing import Packing
from common.models.transformer import MaskedDiffusionModel, initialize

_SHAPES = {
    "attention weighs most": {"hidden_size": 32, "intermediate_size": 16, "num_key_value_heads": 4},
    "grouped keys, wide layers": {"hidden_size": 64, "intermediate_size": 384, "num_key_value_heads": 2},
}


def counted(config: ModelConfig, lengths: list[int], rows: int) -> tuple[int, int]:
    """What PyTorch counts of a forward pass, and of one with its backward pass; attention as plain products."""
    model = MaskedDiffusionModel(config)
    initialize(model, torch.Generator().manual_seed(0))
    ids = torch.randint(3, config.vocab_size, (sum(lengths),))
    packing = Packing.of(lengths, torch.device("cpu"))
    scored = torch.randperm(sum(lengths))[:rows].sort().values
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward, torch.no_grad():
            model.logits(model.hidden(ids, packing, scored))
        with FlopCounterMode(display=False) as both:
            loss = F.cross_entropy(model.logits(model.hidden(ids, packing, scored)), ids[scored])
            torch.autograd.backward(loss)
    return forward.get_total_flops(), both.get_total_flops()


@pytest.mark.parametrize(
    ("shape", "tied", "lengths", "rows"),
    [
        ("attention weighs most", True, [96], 96),
        ("grouped keys, wide layers", False, [40, 40, 7], 31),
        ("grouped keys, wide layers", True, [40, 40, 7], 31),
    ],
)
def test_flops_are_those_that_pytorch_counts(shape: str, tied: bool, lengths: list[int], rows: int) -> None:
    ids = {"mask_token_id": 1, "eos_token_id": 0, "pad_token_id": 0}
    layers = {"num_hidden_layers": 3, "num_attention_heads": 4, "tie_word_embeddings": tied}
    config = ModelConfig.model_validate({"vocab_size": 300, **ids, **layers, **_SHAPES[shape]})
    forward, both = counted(config, lengths, rows)
    assert forward_flops(config, lengths, rows) == pytest.approx(forward, rel=0.01)
    assert training_flops(config, lengths, rows) == pytest.approx(both, rel=0.01)


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
