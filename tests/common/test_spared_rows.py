"""Hidden states and gradients of rows that are asked for, against transformers' model, a sequence at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from common.models.folder import model_folder
from common.models.loading import save_model
from common.models.packing import Packing
from common.models.precision import rounded
from common.models.spared_rows import SparedRows, gathered
from common.models.transformer import MaskedDiffusionModel

MakeModel = Callable[..., MaskedDiffusionModel]
LENGTHS = [6, 9, 6, 6, 9, 4]
#: Of each sequence, places that are read: none of one of them, and not in order.
READ = [[5, 0, 3], [8, 2], [1, 0, 4], [], [2, 8, 7, 1], [3]]


def sequences(words: int) -> list[list[int]]:
    draw = torch.Generator().manual_seed(words)
    return [torch.randint(2, words, (length,), generator=draw).tolist() for length in LENGTHS]


def read_rows(packing: Packing, read: Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor([packing.starts[i] + place for i, places in enumerate(read) for place in places])


@pytest.mark.parametrize("words", [6, 40])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_states_and_gradients_are_those_of_whole_passes(
    make_model: MakeModel, tmp_path: Path, words: int, layers: int, checkpointing: bool
) -> None:
    model = make_model(num_hidden_layers=layers).requires_grad_(True)
    model.checkpoint_layers = checkpointing
    save_model(model.config, model.named_parameters(), tmp_path / "model", model_folder("builtin:quickstart"))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model", attn_implementation="sdpa")
    drawn, packing = sequences(words), Packing.of(LENGTHS)
    ids, rows = packing.pack(drawn), read_rows(packing, READ)
    spared = SparedRows.of(ids, packing, rows)
    assert (spared.different is not None) == (words == 6)
    states = model.hidden(ids, packing, rows, spared=spared)
    expected = []
    for sequence, places in zip(drawn, READ, strict=True):
        everything = torch.zeros(1, 1, len(sequence), len(sequence))
        found = theirs.model(
            torch.tensor([sequence]), attention_mask=everything, use_cache=False
        ).last_hidden_state[0]
        expected.append(found[places])
    torch.testing.assert_close(states, torch.cat(expected), atol=1e-5, rtol=1e-4)
    slope = torch.randn(states.shape, generator=torch.Generator().manual_seed(0))
    states.backward(slope)
    torch.cat(expected).backward(slope)
    wanted = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in model.named_parameters():
        found, other = parameter.grad, wanted.get(name)
        assert (found is None) == (other is None), name
        if found is not None and other is not None:
            assert float((found - other).abs().max()) < 1e-5 * float(other.abs().max()), name


def test_rows_are_asked_for_in_the_order_of_the_sequences() -> None:
    packing = Packing.of(LENGTHS)
    rows = read_rows(packing, READ)
    asked = SparedRows.of(packing.pack(sequences(6)), packing, rows).asked
    assert asked is not None
    assert torch.equal(asked.queries(rows).rows, rows.sort().values)
    assert torch.equal(asked.queries(rows).rows[asked.back], rows)
    by_place = sorted(range(len(LENGTHS)), key=packing.starts.__getitem__)
    assert list(asked.counts) == [len(READ[i]) for i in by_place]


def test_no_rows_are_asked_for_without_complaint(make_model: MakeModel) -> None:
    model, packing = make_model().requires_grad_(True), Packing.of(LENGTHS)
    ids, rows = packing.pack(sequences(6)), torch.zeros(0, dtype=torch.long)
    states = model.hidden(ids, packing, rows, spared=SparedRows.of(ids, packing, rows))
    assert states.shape == (0, model.config.hidden_size)
    states.sum().backward()
    # Ranks exchange the gradients of all weights, whether they have rows or not.
    assert all(parameter.grad is not None for parameter in model.model.parameters())


def test_gradients_of_a_repeated_row_are_not_added_up_in_bf16() -> None:
    rows = torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True)
    slope = rounded(torch.full((4000, 3), 0.01))
    gathered(rows, torch.zeros(4000, dtype=torch.long)).backward(slope)
    assert rows.grad is not None
    torch.testing.assert_close(rows.grad.float(), torch.stack([rounded(slope.sum(0)), torch.zeros(3)]))
