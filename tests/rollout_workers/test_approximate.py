from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from common.models.packing import Packing
from common.models.transformer import MaskedDiffusionModel
from common.models.window import Memory, Window
from common.records import Completion, NoiseKey, Sampler
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine
from rollout_workers.requests import Request

MakeModel = Callable[..., MaskedDiffusionModel]
LENGTHS = (7, 12, 7, 9)
MASK = 1


def packed(seed: int) -> tuple[Packing, Tensor]:
    ids = torch.randint(2, 40, (sum(LENGTHS),), generator=torch.Generator().manual_seed(seed))
    packing = Packing.of(LENGTHS)
    return packing, ids


def test_a_window_over_everything_is_the_exact_pass(make_model: MakeModel) -> None:
    model = make_model()
    packing, ids = packed(0)
    window = Window.of(packing, [(0, length) for length in LENGTHS])
    hidden = model.refresh(ids, packing, window, Memory(packing.total))
    torch.testing.assert_close(hidden, model.hidden(ids, packing)[window.rows], atol=1e-5, rtol=1e-5)


def test_nothing_is_lost_while_no_token_changes(make_model: MakeModel) -> None:
    """What is remembered is then what would be computed, for windows of any shape."""
    model = make_model()
    packing, ids = packed(0)
    memory = Memory(packing.total)
    model.refresh(ids, packing, Window.of(packing, [(0, length) for length in LENGTHS]), memory)
    window = Window.of(packing, [(2, 5), (0, 12), (6, 7), (3, 6)])
    assert len(window.groups) == 4
    hidden = model.refresh(ids, packing, window, memory)
    torch.testing.assert_close(hidden, model.hidden(ids, packing)[window.rows], atol=1e-5, rtol=1e-5)


def test_tokens_outside_the_window_are_seen_as_they_were(make_model: MakeModel) -> None:
    model = make_model()
    packing, ids = packed(0)
    memory = Memory(packing.total)
    model.refresh(ids, packing, Window.of(packing, [(0, length) for length in LENGTHS]), memory)
    changed = ids.clone()
    changed[packing.starts[1]] += 1
    window = Window.of(packing, [(2, 5)] * 4)
    stale = model.refresh(changed, packing, window, memory)
    torch.testing.assert_close(stale, model.hidden(ids, packing)[window.rows], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(stale, model.hidden(changed, packing)[window.rows], atol=1e-4)


def test_memory_moves_with_its_rows(make_model: MakeModel) -> None:
    model = make_model()
    packing, ids = packed(0)
    memory = Memory(packing.total)
    model.refresh(ids, packing, Window.of(packing, [(0, length) for length in LENGTHS]), memory)
    kept = Packing.of([LENGTHS[3], LENGTHS[1]])
    origins = torch.empty(kept.total, dtype=torch.long)
    for new, old in enumerate((3, 1)):
        origins[kept.starts[new] : kept.starts[new] + kept.lengths[new]] = packing.starts[old] + torch.arange(
            kept.lengths[new]
        )
    window = Window.of(kept, [(1, 4), (5, 8)])
    hidden = model.refresh(ids[origins], kept, window, memory.moved(origins))
    expected = model.hidden(ids, packing)[origins][window.rows]
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-5)


def sampler(cache: str, steps: int = 12, block: int = 4, **fields: Any) -> Sampler:
    settings = {"temperature": 1.2, "top_p": 0.95, "completion_length": 12, "denoising_steps": steps}
    return Sampler.model_validate(settings | {"block_length": block, "approximate_cache": cache} | fields)


def denoise(model: MaskedDiffusionModel, setting: Sampler, tokens: int = 16384) -> list[Completion]:
    prompts = [tuple(range(2, 4 + (5 * i) % 7)) for i in range(12)]
    requests = [Request(prompt, NoiseKey(5, "noise-train", (0, i, 0))) for i, prompt in enumerate(prompts)]
    return DenoisingEngine(TorchDenoiser(model), tokens).run(requests, setting)


@pytest.mark.parametrize("cache", ["prefix", "dual"])
@pytest.mark.parametrize("decoder", ["entropy", "low_confidence"])
def test_blocks_of_one_step_are_exact(make_model: MakeModel, cache: str, decoder: str) -> None:
    """Every pass then begins a block, and is whole."""
    model = make_model(vocab_size=12)
    exact = denoise(model, sampler("none", steps=3, decoder=decoder))
    cached = denoise(model, sampler(cache, steps=3, decoder=decoder))
    assert [c.completion_ids for c in cached] == [c.completion_ids for c in exact]
    assert [c.step_map for c in cached] == [c.step_map for c in exact]


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_a_cached_completion_depends_neither_on_its_batch_nor_on_its_order(
    make_model: MakeModel, cache: str, shift: bool
) -> None:
    """Rows enter, leave and begin their blocks at different times, and take what is remembered along."""
    model = make_model(vocab_size=12, shift=shift)
    whole = denoise(model, sampler(cache))
    assert len({completion.end for completion in whole}) > 2
    for tokens in (1, 40, 60):
        again = denoise(model, sampler(cache), tokens)
        assert [c.completion_ids for c in again] == [c.completion_ids for c in whole]
        assert [c.step_map for c in again] == [c.step_map for c in whole]


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_a_cache_is_exact_where_tokens_do_not_see_each_other(
    make_model: MakeModel, cache: str, shift: bool
) -> None:
    """Nothing that is remembered can then go stale, so each token must come from the row that predicts it."""
    model = make_model(vocab_size=12, shift=shift)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "o_proj" in name:
                weight.zero_()
    exact, cached = denoise(model, sampler("none")), denoise(model, sampler(cache))
    assert [c.completion_ids for c in cached] == [c.completion_ids for c in exact]
    for one, other in zip(cached, exact, strict=True):
        assert one.model_logprobs == pytest.approx(other.model_logprobs, abs=1e-5)


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_the_first_token_of_a_block_is_exact_and_later_ones_are_near(make_model: MakeModel, cache: str) -> None:
    """Log-probabilities against the exact model in the same canvas: equal at the start of a block, else close."""
    model = make_model(vocab_size=12)
    errors: dict[bool, list[float]] = {True: [], False: []}
    for i, done in enumerate(denoise(model, sampler(cache))):
        prompt = list(range(2, 4 + (5 * i) % 7))
        tokens = enumerate(zip(done.completion_ids, done.step_map, strict=True))
        cells = [(k, t, s) for k, (t, s) in tokens if s >= 0] + list(done.overwritten)
        for k, token, step in cells:
            if k > done.end:
                continue
            canvas = prompt + [MASK] * 12
            for other, earlier, when in cells:
                if when < step:
                    canvas[len(prompt) + other] = earlier
            hidden = model.hidden(torch.tensor(canvas), Packing.of([len(canvas)]))
            row = model.source_rows(torch.tensor([len(prompt) + k]))
            exact = float(model.logits(hidden[row]).log_softmax(-1)[0, token])
            errors[step % 4 == 0].append(abs(exact - done.model_logprobs[k]))
    assert max(errors[True]) < 1e-5
    assert max(errors[False]) > 1e-4, "inside a block the cache must make a difference, or it is not used"
    assert sum(errors[False]) / len(errors[False]) < 0.5
