"""The torch backend's weights: corrupted, loaded, and compared as they are held."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from common.config import LearnerConfig
from common.likelihood.registry import make_estimator
from common.likelihood.views import SampleKey, Text
from common.models.packing import Packing
from common.models.precision import cpu_multiplies_bf16
from common.models.storages import distinct_storages
from common.models.transformer import MaskedDiffusionModel
from common.weights.buckets import fill_buckets, plan_layout, read_buckets
from common.weights.layout import Manifest
from rollout_workers.backends.torch_backend import TorchBackend
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine

MakeModel = Callable[..., MaskedDiffusionModel]


def backend(model: MaskedDiffusionModel, dtype: torch.dtype = torch.float32) -> TorchBackend:
    denoiser = TorchDenoiser(model, dtype)
    return TorchBackend(denoiser, DenoisingEngine(denoiser))


def published(model: MaskedDiffusionModel, dtype: torch.dtype = torch.float32) -> Iterator[tuple[str, Tensor]]:
    """The weights of another model, in the types in which they travel."""
    types = model.held_types(dtype)
    return ((name, parameter.to(types[name])) for name, parameter in model.named_parameters())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_those_published_once_they_are_loaded(
    make_model: MakeModel, dtype: torch.dtype, tied: bool
) -> None:
    worker, learner = (make_model(seed, tie_word_embeddings=tied) for seed in (0, 1))
    names = [name for name, _ in learner.named_parameters()]
    held = backend(worker, dtype)
    assert set(held.differing(published(learner, dtype))) >= {n for n in names if n.endswith("proj.weight")}
    held.corrupt()
    assert held.differing(published(learner, dtype)) == names
    held.load(published(learner, dtype))
    assert held.differing(published(learner, dtype)) == []
    assert held.differing(learner.named_parameters()) == [], "rounded as they are held"


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_released_weights_take_no_memory_until_others_are_loaded(
    make_model: MakeModel, dtype: torch.dtype, tied: bool
) -> None:
    worker, learner = (make_model(seed, tie_word_embeddings=tied) for seed in (0, 1))
    held = backend(worker, dtype)
    text = Text((2, 3), (4, 5, 6), 3, (0, 1, 2))
    estimator = make_estimator(LearnerConfig().estimator, 2)
    views = estimator.views(SampleKey(0, 0, 0, 0), text)
    held.estimate(text, views)
    before = distinct_storages(worker.parameters())
    sizes = [storage.nbytes() for storage in before]
    held.release()
    held.release()
    assert distinct_storages(worker.parameters()) == []
    assert [storage.nbytes() for storage in before] == [0] * len(before)
    held.load(published(learner, dtype))
    assert [storage.nbytes() for storage in before] == sizes
    assert held.differing(published(learner, dtype)) == []
    fresh = backend(make_model(tie_word_embeddings=tied), dtype)
    fresh.load(published(learner, dtype))
    assert held.estimate(text, views) == fresh.estimate(text, views)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_are_held_in_place_compute_the_same_bits_as_copies(
    make_model: MakeModel, dtype: torch.dtype, bias: bool, tied: bool
) -> None:
    shape = {"tie_word_embeddings": tied, "family": "qwen2" if bias else "llama"}
    worker, learner, another = (make_model(seed, **shape) for seed in (0, 1, 2))
    held, copied = backend(worker, dtype), backend(make_model(0, **shape), dtype)
    text = Text((2, 3), (4, 5, 6), 3, (0, 1, 2))
    views = make_estimator(LearnerConfig().estimator, 2).views(SampleKey(0, 0, 0, 0), text)
    layout = plan_layout(learner.named_parameters(), learner.held_types(dtype), 1 << 20).in_place(4096)
    assert len(layout.buckets) > 2

    def memory_of(weights: MaskedDiffusionModel) -> tuple[Tensor, Iterator[tuple[str, Tensor]]]:
        memory = torch.zeros(layout.starts[-1] + layout.sizes[-1], dtype=torch.uint8)
        places = [memory[start:][:size] for start, size in zip(layout.starts, layout.sizes, strict=True)]
        manifest = Manifest(0, layout)
        return memory, read_buckets(
            manifest, list(fill_buckets(manifest, weights.named_parameters(), places.__getitem__))
        )

    for published_now in (learner, another, learner):
        memory, weights = memory_of(published_now)
        adopted = held.adopt(layout, weights)
        assert adopted is (dtype is torch.float32 or cpu_multiplies_bf16()), "in the types that are held"
        if not adopted:
            held.load(weights)
        elif dtype is torch.float32:
            assert [one.data_ptr() for one in distinct_storages(worker.parameters())] == [memory.data_ptr()]
        copied.load(published(published_now, dtype))
        assert held.differing(published(published_now, dtype)) == []
        assert held.estimate(text, views) == copied.estimate(text, views)
        held.release()
    held.load(published(another, dtype))
    memory.fill_(255)
    copied.load(published(another, dtype))
    assert held.estimate(text, views) == copied.estimate(text, views), "in memory of its own again"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_bit_in_one_tensor_is_found(make_model: MakeModel, dtype: torch.dtype) -> None:
    learner = make_model(1)
    held = backend(make_model(), dtype)
    held.load(published(learner, dtype))
    name, parameter = next((n, p) for n, p in learner.named_parameters() if n.endswith("down_proj.weight"))
    with torch.no_grad():
        parameter[3, 5] = parameter[3, 5].to(dtype).nextafter(torch.tensor(9.0, dtype=dtype))
    assert held.differing(published(learner, dtype)) == [name]


def test_a_backend_estimates_by_the_views_it_is_given(make_model: MakeModel) -> None:
    """As many numbers as the completion has tokens; weights that change, change them."""
    config = LearnerConfig()
    estimator = make_estimator(config.estimator, config.inner_iterations)
    text = Text((2, 3), (4, 5, 6, 0), valid_tokens=3)
    views = estimator.views(SampleKey(0, 1, 2, 0), text)
    held = backend(make_model())
    before = held.estimate(text, views)
    assert len(before) == 4
    assert before[3] == 0 > max(before[:3])
    held.load(published(make_model(1)))
    assert held.estimate(text, views) != before


@pytest.mark.parametrize("vocabulary", [2047, 2048, 2500])
def test_logits_that_are_computed_a_part_at_a_time_are_the_models(make_model: MakeModel, vocabulary: int) -> None:
    model = make_model(vocab_size=vocabulary)
    hidden = torch.randn(5, model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    denoiser = TorchDenoiser(model)
    expected = denoiser.logits(hidden)
    found = denoiser.local_logits(hidden)
    assert torch.equal(found.isinf(), expected.isinf())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("inner", [1100, 1536])
def test_a_feed_forward_block_that_is_computed_a_part_at_a_time_is_the_models(
    make_model: MakeModel, inner: int
) -> None:
    model = make_model(intermediate_size=inner)
    ids = torch.randint(2, 12, (30,), generator=torch.Generator().manual_seed(0))
    packing = Packing.of([13, 17])
    with torch.inference_mode():
        expected = model.hidden(ids, packing)
    torch.testing.assert_close(TorchDenoiser(model).hidden(ids, packing), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_pass_after_another_is_the_one_that_a_fresh_denoiser_makes(
    make_model: MakeModel, dtype: torch.dtype
) -> None:
    """Rows of the first layer are remembered: of tokens that changed, none; of other weights, none."""
    numbers = torch.Generator().manual_seed(0)
    packing, other = Packing.of([13, 17]), Packing.of([17, 13])
    ids = torch.randint(2, 12, (30,), generator=numbers)
    denoiser = TorchDenoiser(make_model(), dtype)

    def agree(packing: Packing, seed: int) -> None:
        expected = TorchDenoiser(make_model(seed), dtype).hidden(ids, packing)
        torch.testing.assert_close(denoiser.hidden(ids, packing), expected, atol=1e-5, rtol=1e-5)

    agree(packing, 0)
    for place in (0, 12, 13, 29):
        ids[place] = 20 + place % 5
        agree(packing, 0)
    agree(packing, 0)
    agree(other, 0)
    agree(packing, 0)
    denoiser.load(published(make_model(1), dtype))
    agree(packing, 1)


def test_a_pass_with_weights_held_in_place_remembers_nothing_of_the_last_ones(make_model: MakeModel) -> None:
    packing, ids = Packing.of([9]), torch.arange(2, 11)
    denoiser, learner = TorchDenoiser(make_model(0)), make_model(1)
    denoiser.hidden(ids, packing)
    layout = plan_layout(learner.named_parameters(), learner.held_types(torch.float32), 1 << 20).in_place(4096)
    memory = torch.zeros(layout.starts[-1] + layout.sizes[-1], dtype=torch.uint8)
    places = [memory[start:][:size] for start, size in zip(layout.starts, layout.sizes, strict=True)]
    manifest = Manifest(0, layout)
    buckets = list(fill_buckets(manifest, learner.named_parameters(), places.__getitem__))
    assert denoiser.adopt(layout, read_buckets(manifest, buckets))
    expected = TorchDenoiser(make_model(1)).hidden(ids, packing)
    torch.testing.assert_close(denoiser.hidden(ids, packing), expected, atol=1e-5, rtol=1e-5)


def test_the_first_layer_computes_no_more_than_the_tokens_that_changed(make_model: MakeModel) -> None:
    model = make_model()
    denoiser, packing, ids = TorchDenoiser(model), Packing.of([20, 20]), torch.arange(40) % 12

    def operations() -> int:
        with FlopCounterMode(display=False) as counter:
            denoiser.hidden(ids, packing)
        return int(counter.get_total_flops())

    config = model.config
    row = 2 * config.hidden_size * (config.hidden_size + 2 * config.num_key_value_heads * config.head_dim)
    whole, unchanged = operations(), operations()
    assert whole - unchanged == 40 * row
    ids[[3, 30, 31]] = 15
    assert operations() - unchanged == 3 * row
