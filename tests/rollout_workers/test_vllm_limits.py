"""What vLLM cannot compute is told before anything starts, with what would do instead."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from common.models import families
from common.models.config import ModelConfig
from common.models.families import FAMILIES, Family
from rollout_workers.backends.vllm_backend.limits import check_limits

#: Of DiffuCoder-7B.
SHAPE: dict[str, Any] = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "mask_token_id": 151666,
    "eos_token_id": 151643,
    "pad_token_id": 151643,
}


SIX_HEADS = {"num_attention_heads": 6, "num_key_value_heads": 6, "hidden_size": 384, "intermediate_size": 1536}


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_published_model_can_be_shared_by_divisors_of_its_heads(size: int) -> None:
    check_limits(ModelConfig(**SHAPE), size, on_gpu=True)
    check_limits(ModelConfig(**SHAPE), size, on_gpu=False)


def test_the_vocabulary_is_filled_up_before_it_is_shared() -> None:
    check_limits(ModelConfig(**SHAPE | SIX_HEADS), 3, on_gpu=True)
    check_limits(ModelConfig(**SHAPE | SIX_HEADS | {"vocab_size": 152063}), 3, on_gpu=True)


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        # 28 heads divide by 7, and 4 key-value heads neither divide by it nor go into it.
        ({}, 7, "28 heads, 4 key-value heads"),
        ({}, 3, "tensor_parallel_size to one of 1, 2, 4$"),
        ({"num_attention_heads": 8, "num_key_value_heads": 2, "hidden_size": 512}, 3, "to one of 1, 2, 4, 8$"),
        # 152,064 is 64 * 2376, and 2376 a multiple of 3; with a row more it is filled up to 64 * 2377.
        ({**SIX_HEADS, "vocab_size": 152065}, 3, "vocabulary of 152128 rows .* to one of 1, 2$"),
        ({"intermediate_size": 18946}, 4, "18946 wide .* to one of 1, 2$"),
    ],
)
def test_a_model_that_cannot_be_shared_evenly_names_the_sizes_that_can(
    changes: dict[str, Any], size: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_limits(ModelConfig(**SHAPE | changes), size, on_gpu=True)


@pytest.mark.parametrize(("heads", "width"), [(4, 32), (2, 64), (8, 128)])
def test_heads_of_these_widths_run_on_cpus(heads: int, width: int) -> None:
    check_limits(ModelConfig(**SHAPE | of_heads(heads, width)), 2, on_gpu=False)


@pytest.mark.parametrize(("heads", "width"), [(4, 8), (4, 48), (2, 100)])
def test_heads_of_other_widths_are_refused_on_cpus_alone(heads: int, width: int) -> None:
    model = ModelConfig(**SHAPE | of_heads(heads, width))
    with pytest.raises(ValueError, match=rf"heads are {width} wide, .* set rollout.backend: torch"):
        check_limits(model, 1, on_gpu=False)
    check_limits(model, 1, on_gpu=True)


def of_heads(heads: int, width: int) -> dict[str, int]:
    return {"num_attention_heads": heads, "num_key_value_heads": heads, "hidden_size": heads * width}


def test_a_family_of_another_layout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other: Family = dataclasses.replace(FAMILIES["qwen2"], layout="gemma")  # type: ignore[arg-type]
    monkeypatch.setattr(families, "FAMILIES", {**FAMILIES, "mine": other})
    with pytest.raises(ValueError, match="layout gemma have no vLLM architecture"):
        check_limits(ModelConfig(**SHAPE, family="mine"), 1, on_gpu=True)
