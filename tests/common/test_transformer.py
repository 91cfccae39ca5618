from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from common.models.folder import model_folder
from common.models.loading import save_model
from common.models.packing import Packing
from common.models.transformer import MaskedDiffusionModel

MakeModel = Callable[..., MaskedDiffusionModel]
LENGTHS = [5, 12, 1, 5, 9, 12, 5, 2]


def random_sequences(lengths: Sequence[int], vocabulary: int = 40) -> list[list[int]]:
    random_ids = random.Random(0)
    return [[random_ids.randrange(vocabulary) for _ in range(length)] for length in lengths]


def packed_logits(model: MaskedDiffusionModel, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
    """Logits [length, V] of each sequence, from one packed forward pass."""
    packing = Packing.of([len(ids) for ids in sequences])
    logits = model.logits(model.hidden(packing.pack(sequences), packing))
    return [logits[s : s + n] for s, n in zip(packing.starts, packing.lengths, strict=True)]


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)


def test_packing_locates_every_sequence_and_counts_its_positions() -> None:
    sequences = random_sequences(LENGTHS)
    packing = Packing.of(LENGTHS)
    row = packing.pack(sequences).tolist()
    assert packing.total == len(row) == sum(LENGTHS)
    for start, length, ids in zip(packing.starts, packing.lengths, sequences, strict=True):
        assert row[start : start + length] == ids
        assert packing.positions[start : start + length].tolist() == list(range(length))


def test_packing_blocks_cover_the_row_with_one_block_per_length() -> None:
    packing = Packing.of(LENGTHS)
    assert sorted((length, count) for _, count, length in packing.blocks) == [
        (1, 1),
        (2, 1),
        (5, 3),
        (9, 1),
        (12, 2),
    ]
    covered = [i for start, count, length in packing.blocks for i in range(start, start + count * length)]
    assert covered == list(range(packing.total))


@pytest.mark.parametrize("lengths", [[], [3, 0]])
def test_packing_refuses_nothing(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Packing.of(lengths)


def test_packing_refuses_a_sequence_too_many() -> None:
    with pytest.raises(ValueError, match="zip"):
        Packing.of([2]).pack([[1, 2], [3]])


def test_packed_forward_equals_one_forward_per_sequence(make_model: MakeModel) -> None:
    model = make_model()
    sequences = random_sequences(LENGTHS)
    for ids, logits in zip(sequences, packed_logits(model, sequences), strict=True):
        assert_close(logits, packed_logits(model, [ids])[0], 1e-5)


def test_logits_depend_neither_on_the_batch_nor_on_its_order(make_model: MakeModel) -> None:
    model = make_model()
    sequences = random_sequences(LENGTHS)
    whole = packed_logits(model, sequences)
    shuffler = random.Random(1)
    for size in (2, 5, len(sequences)):
        chosen = shuffler.sample(range(len(sequences)), size)
        for i, logits in zip(chosen, packed_logits(model, [sequences[i] for i in chosen]), strict=True):
            assert_close(logits, whole[i], 1e-5)


def test_every_token_sees_every_other_of_its_sequence_and_none_of_another(make_model: MakeModel) -> None:
    model = make_model()
    sequences = random_sequences([6, 6])
    before = packed_logits(model, sequences)
    for changed in range(6):
        other = list(sequences[0])
        other[changed] = (other[changed] + 1) % 40
        after = packed_logits(model, [other, sequences[1]])
        moved = (after[0] - before[0]).nan_to_num(0).abs().amax(-1)
        assert bool((moved > 1e-4).all())
        assert_close(after[1], before[1], 1e-6)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("tied", [True, False])
def test_equals_transformers_qwen2_without_the_causal_mask(
    make_model: MakeModel, tmp_path: Path, kv_heads: int, tied: bool
) -> None:
    model = make_model(num_key_value_heads=kv_heads, tie_word_embeddings=tied, rms_norm_eps=1e-3)
    target = tmp_path / "model"
    save_model(model.config, model.named_parameters(), target, model_folder("builtin:quickstart"))
    theirs = AutoModelForCausalLM.from_pretrained(target, attn_implementation="sdpa").eval()
    assert type(theirs).__name__ == "Qwen2ForCausalLM"
    sequences = random_sequences([7, 11, 7, 1])
    real = torch.arange(40) != model.config.mask_token_id
    for ids, ours in zip(sequences, packed_logits(model, sequences), strict=True):
        full_attention = torch.zeros(1, 1, len(ids), len(ids))
        with torch.no_grad():
            expected = theirs(torch.tensor([ids]), attention_mask=full_attention, use_cache=False).logits[0]
        assert_close(ours[:, real], expected[:, real], 1e-4)


@pytest.mark.parametrize(("token_count", "forbidden"), [(None, [1]), (37, [1, 37, 38, 39])])
def test_forbidden_tokens_and_no_others_get_minus_infinity(
    make_model: MakeModel, token_count: int | None, forbidden: list[int]
) -> None:
    model = make_model(token_count=token_count)
    rows = torch.randn(5, 32)
    logits = model.logits(rows)
    assert logits.dtype is torch.float32
    assert logits.isneginf().any(0).nonzero().flatten().tolist() == forbidden
    assert bool(logits[:, forbidden].isneginf().all())
    allowed = [token for token in range(40) if token not in forbidden]
    assert torch.equal(logits[:, allowed], model.lm_head(rows)[:, allowed])


@pytest.mark.parametrize("tied", [True, False])
def test_forbidden_tokens_leave_the_other_gradients_alone(make_model: MakeModel, tied: bool) -> None:
    """Against a softmax over the allowed tokens alone."""
    model = make_model(token_count=37, tie_word_embeddings=tied).requires_grad_(True)
    allowed = [token for token in range(37) if token != 1]
    rows = torch.randn(5, 32, requires_grad=True)
    inputs = (rows, model.lm_head.weight)
    actual = torch.autograd.grad(model.logits(rows).logsumexp(-1).sum(), inputs)
    expected = torch.autograd.grad((rows @ model.lm_head.weight[allowed].T).logsumexp(-1).sum(), inputs)
    for ours, theirs in zip(actual, expected, strict=True):
        assert_close(ours, theirs, 1e-6)


def test_forbidden_tokens_are_no_weights(make_model: MakeModel) -> None:
    model, whole = make_model(token_count=37), make_model()
    assert model.state_dict().keys() == whole.state_dict().keys()
    assert dict(model.named_parameters()).keys() == dict(whole.named_parameters()).keys()


@pytest.mark.parametrize(("shift", "expected"), [(True, [4, 7]), (False, [5, 8])])
def test_shifted_logits_are_read_one_to_the_left(make_model: MakeModel, shift: bool, expected: list[int]) -> None:
    assert make_model(shift=shift).source_rows(torch.tensor([5, 8])).tolist() == expected
