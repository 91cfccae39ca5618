from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from common.models.transformer import MaskedDiffusionModel
from common.models.weights import WeightsError, from_buckets, to_buckets

SHAPES: dict[str, tuple[int, ...]] = {"b": (3, 5), "a": (7,), "scalar": (), "wide": (2, 3, 4), "z": (1,)}


def parameters() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("bucket_bytes", [1, 4, 64, 92, 100, 10**6])
def test_buckets_round_trip_in_order_and_bit_for_bit(bucket_bytes: int) -> None:
    sent = parameters()
    manifest, buckets = to_buckets(sent.items(), 7, bucket_bytes)
    received = list(from_buckets(manifest, buckets))
    assert [name for name, _ in received] == list(SHAPES)
    for name, tensor in received:
        assert tensor.shape == sent[name].shape
        assert torch.equal(tensor, sent[name])


@pytest.mark.parametrize(("bucket_bytes", "sizes"), [(1, [15, 7, 1, 24, 1]), (92, [23, 24, 1]), (10**6, [48])])
def test_buckets_fill_up_and_keep_parameters_whole(bucket_bytes: int, sizes: list[int]) -> None:
    manifest, buckets = to_buckets(parameters().items(), 7, bucket_bytes)
    assert [len(bucket) for bucket in buckets] == sizes
    assert manifest.version == 7
    assert len(manifest.entries) == len(manifest.checksums) == len(buckets)
    assert [name for entries in manifest.entries for name, _ in entries] == list(SHAPES)


def test_a_real_model_in_half_precision_arrives_as_float32(
    make_model: Callable[..., MaskedDiffusionModel],
) -> None:
    sent = dict(make_model().bfloat16().named_parameters())
    manifest, buckets = to_buckets(sent.items(), 1, 4096)
    assert len(buckets) > 2
    received = dict(from_buckets(manifest, buckets))
    assert received.keys() == sent.keys()
    for name, tensor in received.items():
        assert tensor.dtype is torch.float32
        assert torch.equal(tensor, sent[name].float())


def test_buckets_do_not_share_memory_with_the_parameters() -> None:
    sent = {"only": torch.zeros(4)}
    manifest, buckets = to_buckets(sent.items(), 1, 100)
    sent["only"].fill_(1.0)
    received = dict(from_buckets(manifest, buckets))["only"]
    assert received.tolist() == [0.0] * 4
    received.fill_(2.0)
    assert buckets[0].tolist() == [0.0] * 4


def test_read_only_buckets_of_the_object_store_are_read() -> None:
    manifest, buckets = to_buckets(parameters().items(), 1, 64)
    for bucket in buckets:
        bucket.flags.writeable = False
    assert len(list(from_buckets(manifest, buckets))) == len(SHAPES)


@pytest.mark.parametrize("number", [0, 1])
def test_damaged_bucket_is_named_before_it_is_used(number: int) -> None:
    manifest, buckets = to_buckets(parameters().items(), 7, 92)
    buckets[number].view(np.uint8)[5] ^= 1
    with pytest.raises(WeightsError, match=f"version 7: bucket {number} is damaged"):
        dict(from_buckets(manifest, buckets))


def test_swapped_truncated_or_missing_buckets_are_refused() -> None:
    manifest, buckets = to_buckets(parameters().items(), 7, 92)
    with pytest.raises(WeightsError):
        dict(from_buckets(manifest, buckets[::-1]))
    with pytest.raises(WeightsError):
        dict(from_buckets(manifest, [buckets[0], buckets[1][:-1]]))
    with pytest.raises(ValueError, match="zip"):
        dict(from_buckets(manifest, buckets[:1]))
