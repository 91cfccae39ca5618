from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from common.models.transformer import MaskedDiffusionModel
from common.weights import copies
from common.weights.buckets import Bucket, fill_buckets, overwrite, plan_layout, read_buckets, stored_buckets
from common.weights.layout import Manifest, WeightsError
from rollout_workers.denoiser import TorchDenoiser

MakeModel = Callable[..., MaskedDiffusionModel]
SHAPES: dict[str, tuple[int, ...]] = {"b": (3, 5), "a": (7,), "scalar": (), "wide": (2, 3, 4), "z": (1,)}
FP32, BF16 = torch.float32, torch.bfloat16


def parameters() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def types(*in_bf16: str) -> dict[str, torch.dtype]:
    return {name: BF16 if name in in_bf16 else FP32 for name in SHAPES}


NO_TYPE = b'{"version":1,"on_device":false,"buckets":[[["a",[1],"int8",0]]]}'


def publish(
    sent: dict[str, Tensor],
    types: dict[str, torch.dtype],
    bucket_bytes: int,
    version: int = 7,
    on_device: bool = False,
) -> tuple[Manifest, list[Bucket]]:
    """Copies of the buckets, read-only as the object store gives them."""
    manifest = Manifest(version, plan_layout(sent.items(), types, bucket_bytes), on_device)
    buckets = [bucket.numpy().copy() for bucket in fill_buckets(manifest, sent.items())]
    for bucket in buckets:
        bucket.flags.writeable = False
    return manifest, buckets


def receive(manifest: Manifest, buckets: list[Bucket]) -> dict[str, Tensor]:
    return dict(read_buckets(manifest, stored_buckets(manifest, buckets)))


@pytest.mark.parametrize("in_bf16", [(), ("b", "a", "z"), tuple(SHAPES)])
@pytest.mark.parametrize("bucket_bytes", [1, 64, 100, 10**6])
@pytest.mark.parametrize("on_device", [False, True])
def test_buckets_round_trip_in_order_rounded_once(
    bucket_bytes: int, in_bf16: tuple[str, ...], on_device: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "_PIECE_BYTES", 12)  # what is copied and sealed at a time: a part of a parameter
    sent = parameters()
    manifest, buckets = publish(sent, types(*in_bf16), bucket_bytes, on_device=on_device)
    received = receive(Manifest.decode(manifest.encode()), buckets)
    assert list(received) == list(SHAPES)
    for name, tensor in received.items():
        assert tensor.dtype is (BF16 if name in in_bf16 else FP32)
        assert tensor.shape == sent[name].shape
        assert torch.equal(tensor, sent[name].to(tensor.dtype))


def test_a_parameter_that_is_not_contiguous_is_sealed_as_it_arrives() -> None:
    sent = {"turned": torch.arange(12.0).view(3, 4).T, "next": torch.ones(3)}
    manifest, buckets = publish(sent, dict.fromkeys(sent, FP32), 100)
    for name, tensor in receive(manifest, buckets).items():
        assert torch.equal(tensor, sent[name])


def test_bf16_takes_half_of_the_bytes() -> None:
    sent = {"only": torch.zeros(1000)}
    sizes = [publish(sent, {"only": dtype}, 10**6)[1][0].nbytes for dtype in (FP32, BF16)]
    assert sizes == [4008, 2008]


@pytest.mark.parametrize(
    ("bucket_bytes", "names"), [(1, ["b", "a", "scalar", "wide", "z"]), (108, ["b a scalar", "wide z"])]
)
def test_buckets_fill_up_and_keep_parameters_whole(bucket_bytes: int, names: list[str]) -> None:
    manifest, buckets = publish(parameters(), types(), bucket_bytes)
    assert [" ".join(entry.name for entry in bucket) for bucket in manifest.layout.buckets] == names
    assert [bucket.nbytes for bucket in buckets] == list(manifest.layout.sizes)


def test_what_is_computed_with_in_place_lies_side_by_side_in_one_bucket_and_may_come_in_the_models_order(
    make_model: MakeModel,
) -> None:
    model = make_model()  # with biases of queries, keys and values
    sent = {name: parameter.clone() for name, parameter in model.named_parameters()}
    layout = plan_layout(sent.items(), dict.fromkeys(sent, FP32), 10**6).in_place(1)
    names = [[entry.name.rpartition("layers.0.")[2] for entry in bucket] for bucket in layout.buckets]
    assert [f"self_attn.{one}_proj.{kind}" for kind in ("weight", "bias") for one in "qkv"] in (
        [*bucket[:3], *bucket[4:]] for bucket in names
    )
    assert [f"mlp.{one}_proj.weight" for one in ("gate", "up", "down")] in names
    assert all(entry.offset % 64 == 0 for bucket in layout.buckets for entry in bucket)
    manifest = Manifest(1, layout)
    buckets = [bucket.numpy().copy() for bucket in fill_buckets(manifest, sent.items())]
    received = receive(manifest, buckets)
    assert sorted(received) == sorted(sent)
    assert all(torch.equal(received[name], sent[name]) for name in sent)
    late = {name: tensor for name, tensor in sent.items() if not name.endswith("0.self_attn.q_proj.bias")}
    for wrong in (
        late,
        late | {"model.layers.0.self_attn.bias": torch.zeros(32)},
        sent | {"more": torch.zeros(1)},
    ):
        with pytest.raises(WeightsError, match="version 1"):
            list(fill_buckets(manifest, wrong.items()))


@pytest.mark.parametrize("dtype", [FP32, BF16])
@pytest.mark.parametrize("tie", [False, True])
def test_a_worker_gets_what_rounding_the_weights_once_gives(
    make_model: MakeModel, dtype: torch.dtype, tie: bool
) -> None:
    learner, expected = (make_model(seed=1, tie_word_embeddings=tie) for _ in range(2))
    TorchDenoiser(expected, dtype)  # holds the model's weights in that type from here on
    worker = make_model(seed=2, tie_word_embeddings=tie)
    denoiser = TorchDenoiser(worker, dtype)
    manifest, buckets = publish(dict(learner.named_parameters()), learner.held_types(dtype), 4096)
    assert len(buckets) > 2
    denoiser.load(receive(manifest, buckets).items())
    loaded = dict(worker.named_parameters())
    for name, parameter in expected.named_parameters():
        assert loaded[name].dtype is parameter.dtype
        assert torch.equal(loaded[name], parameter), name


def test_received_parameters_are_views_of_their_buckets_without_a_warning() -> None:
    manifest, buckets = publish(parameters(), types("b"), 64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        received = receive(manifest, buckets)
    for entries, bucket in zip(manifest.layout.buckets, buckets, strict=True):
        for entry in entries:
            assert received[entry.name].data_ptr() == bucket.ctypes.data + entry.offset


def test_parameters_may_reuse_their_memory_and_so_do_buckets() -> None:
    memory = torch.empty(4)
    sent = {name: torch.full((4,), float(value)) for value, name in enumerate("abcd")}
    manifest = Manifest(1, plan_layout(sent.items(), dict.fromkeys(sent, FP32), 32))
    buckets, addresses = [], set()
    for bucket in fill_buckets(manifest, ((name, memory.copy_(tensor)) for name, tensor in sent.items())):
        addresses.add(bucket.data_ptr())
        buckets.append(bucket.numpy().copy())
    assert len(buckets) == 2
    assert len(addresses) == 1
    for name, tensor in receive(manifest, buckets).items():
        assert torch.equal(tensor, sent[name])


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("place", [5, -1])
@pytest.mark.parametrize("on_device", [False, True])
def test_damaged_bucket_is_named_before_it_is_used(number: int, place: int, on_device: bool) -> None:
    manifest, buckets = publish(parameters(), types(), 108, on_device=on_device)
    damaged = buckets[number].copy()
    damaged[place] ^= 1
    buckets[number] = damaged
    with pytest.raises(WeightsError, match=f"version 7: bucket {number} is damaged"):
        stored_buckets(manifest, buckets)


def test_swapped_truncated_missing_or_old_buckets_are_refused() -> None:
    # Two buckets of one size and one content: only their places tell them apart.
    twins = {"one": torch.ones(4), "two": torch.ones(4)}
    manifest, buckets = publish(twins, dict.fromkeys(twins, FP32), 16)
    assert np.array_equal(buckets[0][:16], buckets[1][:16])
    with pytest.raises(WeightsError, match="bucket 0"):
        stored_buckets(manifest, buckets[::-1])
    with pytest.raises(WeightsError, match="bucket 1"):
        stored_buckets(manifest, [buckets[0], buckets[1][:-1]])
    with pytest.raises(ValueError, match="zip"):
        stored_buckets(manifest, buckets[:1])
    with pytest.raises(WeightsError, match="version 8: bucket 0"):
        stored_buckets(Manifest(8, manifest.layout), buckets)


@pytest.mark.parametrize("ahead", [0, 16, 512, -16])
@pytest.mark.parametrize("dtype", [FP32, BF16])
@pytest.mark.parametrize("threads", [1, 2])
def test_weights_are_copied_whole_wherever_they_lie(ahead: int, dtype: torch.dtype, threads: int) -> None:
    memory = torch.zeros(4096)
    parameter = memory[1024 + ahead : 2024 + ahead].view(10, 100).requires_grad_()
    sent = torch.randn(10, 100, generator=torch.Generator().manual_seed(0)).to(dtype)
    used = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            overwrite([("a", parameter)], [("a", sent)])
    finally:
        torch.set_num_threads(used)
    assert torch.equal(parameter, sent.float())
    assert memory.count_nonzero() == sent.count_nonzero()


def test_parameters_that_do_not_fit_the_layout_are_refused() -> None:
    sent = parameters()
    manifest = Manifest(7, plan_layout(sent.items(), types(), 108))
    for wrong in (
        dict(list(sent.items())[:-1]),
        sent | {"more": torch.zeros(1)},
        sent | {"a": torch.zeros(8)},
        dict(reversed(sent.items())),
    ):
        with pytest.raises(WeightsError, match="version 7"):
            list(fill_buckets(manifest, wrong.items()))


@pytest.mark.parametrize("text", [b"", b"{}", b'{"version":1,"buckets":[]}', NO_TYPE, b"[1]", b"\xff"])
def test_what_is_no_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(WeightsError, match="not a manifest"):
        Manifest.decode(text)
