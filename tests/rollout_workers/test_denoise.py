from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from common import rng
from common.models.packing import Packing
from common.models.transformer import MaskedDiffusionModel
from common.records import Sampler
from rollout_workers.denoise import Completion, DenoiseLoop, Request
from rollout_workers.denoiser import TorchDenoiser

MakeModel = Callable[..., MaskedDiffusionModel]
MASK, EOS = 1, 0


def sampler(temperature: float = 1.2, steps: int = 6, length: int = 14, top_p: float = 0.95) -> Sampler:
    return Sampler(temperature=temperature, top_p=top_p, denoising_steps=steps, completion_length=length)


def requests(count: int = 12, vocabulary: int = 12) -> list[Request]:
    ids = np.random.default_rng(0)
    lengths = [1 + (5 * i) % 7 for i in range(count)]
    prompts = [tuple(ids.integers(2, vocabulary, length).tolist()) for length in lengths]
    return [Request(prompt, 11, "noise-train", (0, i // 4, i % 4)) for i, prompt in enumerate(prompts)]


def reference(model: MaskedDiffusionModel, request: Request, sampler: Sampler) -> Completion:
    """The sampler as plainly as it can be written: one sequence, all logits, every step, float64 statistics."""
    length, steps = sampler.completion_length, sampler.denoising_steps
    uniforms = rng.stream(request.seed, request.purpose, *request.indices).random(length)
    ids = [*request.prompt_ids, *[MASK] * length]
    step_map, logprobs = [-1] * length, [0.0] * length
    first = len(request.prompt_ids)
    left = length
    for step in range(steps):
        count = left - (length - length * (step + 1) // steps)
        left -= count
        packing = Packing.of([len(ids)])
        all_logits = model.lm_head(model.hidden(torch.tensor(ids), packing)).detach().double().numpy()
        candidates = []
        for k in range(length):
            if ids[first + k] != MASK:
                continue
            logits = all_logits[first + k - 1 if model.config.shift else first + k].copy()
            logits[MASK] = -np.inf
            scaled = np.exp((logits - logits.max()) / (sampler.temperature or 1.0))
            probabilities = scaled / scaled.sum()
            ranked = np.argsort(-probabilities, kind="stable")
            size = int((np.cumsum(probabilities[ranked]) < sampler.top_p).sum()) + 1
            nucleus = probabilities[ranked[:size]] / probabilities[ranked[:size]].sum()
            entropy = -sum(p * math.log(p) for p in nucleus if p > 0)
            rank = int((np.cumsum(nucleus) <= uniforms[k]).sum()) if sampler.temperature else 0
            candidates.append((entropy, k, int(ranked[rank]), math.log(nucleus[rank])))
        candidates.sort()
        if count < len(candidates):  # exact ties go to the left; one within rounding would prove nothing
            gap = candidates[count][0] - candidates[count - 1][0]
            assert gap == 0 or gap > 2e-6, "change the seed"
        for _, k, token, logprob in candidates[:count]:
            ids[first + k], step_map[k] = token, step
            logprobs[k] = logprob if sampler.temperature else 0.0
    tokens = ids[first:]
    assert MASK not in tokens
    end = tokens.index(EOS) if EOS in tokens else length
    return Completion(tuple(tokens), tuple(step_map), tuple(logprobs), end)


@pytest.mark.parametrize(
    ("temperature", "steps", "top_p"),
    [(1.2, 6, 0.95), (1.2, 14, 0.95), (1.2, 1, 1.0), (0.0, 6, 0.95), (0.7, 9, 0.5)],
)
@pytest.mark.parametrize(("vocabulary", "std", "shift"), [(12, 0.2, True), (12, 0.2, False), (150, 0.2, True)])
def test_equals_the_plain_sampler_up_to_the_end_of_text(
    make_model: MakeModel, temperature: float, steps: int, top_p: float, vocabulary: int, std: float, shift: bool
) -> None:
    model = make_model(vocab_size=vocabulary, std=std, shift=shift)
    setting = sampler(temperature, steps, top_p=top_p)
    batch = requests(6, vocabulary)
    for request, ours in zip(batch, DenoiseLoop(TorchDenoiser(model)).run(batch, setting), strict=True):
        plain = reference(model, request, setting)
        upto = plain.end + 1
        assert ours.end == plain.end
        assert ours.ids[:upto] == plain.ids[:upto]
        assert ours.step_map[:upto] == plain.step_map[:upto]
        assert ours.logprobs[:upto] == pytest.approx(plain.logprobs[:upto], abs=1e-4)


def test_some_rows_end_early_and_some_never(make_model: MakeModel) -> None:
    """Without both kinds the comparison with the plain sampler would prove little."""
    completions = DenoiseLoop(TorchDenoiser(make_model(vocab_size=12))).run(requests(40), sampler())
    ends = [completion.end for completion in completions]
    assert min(ends) < 6
    assert max(ends) == 14


def test_after_the_end_of_text_nothing_is_left(make_model: MakeModel) -> None:
    for completion in DenoiseLoop(TorchDenoiser(make_model(vocab_size=12))).run(requests(40), sampler()):
        tail = 14 - completion.end - 1
        assert len(completion.ids) == len(completion.step_map) == len(completion.logprobs) == 14
        assert EOS not in completion.ids[: completion.end]
        assert all(0 <= step < 6 for step in completion.step_map[: completion.end + 1])
        assert all(logprob <= 0 for logprob in completion.logprobs)
        if tail > 0:
            assert completion.ids[-tail - 1 :] == (EOS,) * (tail + 1)
            assert completion.step_map[-tail:] == (-1,) * tail
            assert completion.logprobs[-tail:] == (0.0,) * tail


def test_a_whole_completion_commits_its_budget_at_every_step(make_model: MakeModel) -> None:
    completions = DenoiseLoop(TorchDenoiser(make_model(vocab_size=12))).run(requests(40), sampler())
    whole = [completion.step_map for completion in completions if completion.end == 14]
    assert whole
    for step_map in whole:
        assert [step_map.count(step) for step in range(6)] == [2, 2, 3, 2, 2, 3]


@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_a_completion_depends_neither_on_its_batch_nor_on_its_order(
    make_model: MakeModel, temperature: float
) -> None:
    loop, setting, batch = DenoiseLoop(TorchDenoiser(make_model())), sampler(temperature), requests(12, 40)
    whole = loop.run(batch, setting)

    def same(a: Completion, b: Completion) -> bool:
        close = np.allclose(a.logprobs, b.logprobs, atol=1e-4)
        return (a.ids, a.step_map, a.end) == (b.ids, b.step_map, b.end) and close

    assert all(map(same, loop.run(batch[::-1], setting)[::-1], whole))
    assert all(same(loop.run([request], setting)[0], alone) for request, alone in zip(batch, whole, strict=True))
    pieces = [c for i in range(0, 12, 5) for c in loop.run(batch[i : i + 5], setting)]
    assert all(map(same, pieces, whole))


def test_the_key_decides_the_noise(make_model: MakeModel) -> None:
    loop = DenoiseLoop(TorchDenoiser(make_model()))
    prompt = (5, 6, 7)
    keys = [(0, "noise-train", (0, 0, 0)), (1, "noise-train", (0, 0, 0)), (0, "noise-evaluation", (0, 0, 0))]
    keys += [(0, "noise-train", (0, 0, 1)), (0, "noise-train", (0, 1, 0)), (0, "noise-train", (0, 0, 0))]
    ids = [c.ids for c in loop.run([Request(prompt, *key) for key in keys], sampler())]
    assert len(set(ids)) == len(keys) - 1
    assert ids[0] == ids[-1]


@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_mask_token_is_never_emitted_however_likely(make_model: MakeModel, temperature: float) -> None:
    model = make_model(tie_word_embeddings=False)
    model.lm_head.weight[MASK] *= -100
    packing = Packing.of([20])
    assert MASK in model.lm_head(model.hidden(torch.full((20,), MASK), packing)).argmax(-1)
    for completion in DenoiseLoop(TorchDenoiser(model)).run(requests(12, 40), sampler(temperature, top_p=1.0)):
        assert MASK not in completion.ids


def test_equally_certain_positions_are_committed_from_the_left(make_model: MakeModel) -> None:
    """Positions whose nucleus is one token all have entropy 0: the order must not be the device's choice."""
    model = make_model(vocab_size=12, tie_word_embeddings=False)
    model.lm_head.weight *= 1000
    setting = sampler(0.0, steps=14, length=28)
    for completion in DenoiseLoop(TorchDenoiser(model)).run(requests(20), setting):
        steps = completion.step_map[: completion.end + 1]
        assert list(steps) == [k // 2 for k in range(len(steps))]


def test_bfloat16_runs_and_returns_valid_completions(make_model: MakeModel) -> None:
    loop = DenoiseLoop(TorchDenoiser(make_model(vocab_size=12), torch.bfloat16))
    for completion in loop.run(requests(), sampler()):
        assert MASK not in completion.ids
        assert all(math.isfinite(logprob) for logprob in completion.logprobs)


def test_loaded_weights_are_the_ones_that_sample(make_model: MakeModel) -> None:
    old, new = make_model(seed=0), make_model(seed=1)
    denoiser = TorchDenoiser(old)
    denoiser.load(dict(new.named_parameters()))
    batch = requests(6, 40)
    expected = DenoiseLoop(TorchDenoiser(make_model(seed=1))).run(batch, sampler())
    assert DenoiseLoop(denoiser).run(batch, sampler()) == expected


def test_weights_of_another_model_are_refused(make_model: MakeModel) -> None:
    denoiser = TorchDenoiser(make_model())
    weights = dict(make_model().named_parameters())
    with pytest.raises(ValueError, match="do not fit"):
        denoiser.load({name: tensor for name, tensor in weights.items() if name != "model.norm.weight"})
    with pytest.raises(ValueError, match="do not fit"):
        denoiser.load(weights | {"extra": torch.zeros(1)})
