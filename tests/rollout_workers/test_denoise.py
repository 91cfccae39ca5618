from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from common import rng
from common.models.packing import Packing
from common.models.transformer import MaskedDiffusionModel
from common.records import Completion, NoiseKey, Sampler
from common.weights.layout import WeightsError
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine
from rollout_workers.kernels import Kernels
from rollout_workers.replay import replay
from rollout_workers.requests import Request, RequestError

MakeModel = Callable[..., MaskedDiffusionModel]
MASK, EOS = 1, 0


def sampler(temperature: float = 1.2, steps: int = 6, length: int = 14, **fields: Any) -> Sampler:
    settings = {"temperature": temperature, "top_p": 0.95, "denoising_steps": steps, "completion_length": length}
    return Sampler.model_validate(settings | fields)


def key(group: int, sample: int, seed: int = 11, purpose: str = "noise-train") -> NoiseKey:
    return NoiseKey(seed, purpose, (0, group, sample))


def requests(count: int = 12, vocabulary: int = 12) -> list[Request]:
    ids = np.random.default_rng(0)
    lengths = [1 + (5 * i) % 7 for i in range(count)]
    prompts = [tuple(ids.integers(2, vocabulary, length).tolist()) for length in lengths]
    return [Request(prompt, key(i // 4, i % 4)) for i, prompt in enumerate(prompts)]


def engine(model: MaskedDiffusionModel, batch_tokens: int = 16384) -> DenoisingEngine:
    return DenoisingEngine(TorchDenoiser(model), batch_tokens)


@dataclass
class Plain:
    ids: list[int]
    step_map: list[int]
    logprobs: list[float]
    model_logprobs: list[float]
    end: int


def reference(model: MaskedDiffusionModel, request: Request, sampler: Sampler) -> Plain:
    """Entropy decoding as plainly as it can be written: one sequence, all logits, every step, in fp64."""
    length, steps = sampler.completion_length, sampler.denoising_steps
    uniforms = rng.stream(request.key.seed, request.key.purpose, *request.key.indices).random(length)
    ids = [*request.prompt_ids, *[MASK] * length]
    step_map, logprobs, own = [-1] * length, [0.0] * length, [0.0] * length
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
            unfiltered = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            scaled = np.exp((logits - logits.max()) / (sampler.temperature or 1.0))
            probabilities = scaled / scaled.sum()
            ranked = np.argsort(-probabilities, kind="stable")
            size = int((np.cumsum(probabilities[ranked]) < sampler.top_p).sum()) + 1
            nucleus = np.zeros_like(probabilities)
            nucleus[ranked[:size]] = probabilities[ranked[:size]] / probabilities[ranked[:size]].sum()
            entropy = -sum(p * math.log(p) for p in nucleus if p > 0)
            walked = np.cumsum(nucleus) > uniforms[k]  # the vocabulary in the order of its ids
            token = int(walked.argmax()) if sampler.temperature else int(ranked[0])
            candidates.append((entropy, k, token, math.log(nucleus[token]), math.log(unfiltered[token])))
        candidates.sort()
        if count < len(candidates):  # exact ties go to the left; one within rounding would prove nothing
            gap = candidates[count][0] - candidates[count - 1][0]
            assert gap == 0 or gap > 2e-6, "change the seed"
        for _, k, token, logprob, own_logprob in candidates[:count]:
            ids[first + k], step_map[k] = token, step
            logprobs[k] = logprob if sampler.temperature else 0.0
            own[k] = own_logprob
    tokens = ids[first:]
    assert MASK not in tokens
    return Plain(tokens, step_map, logprobs, own, tokens.index(EOS) if EOS in tokens else length)


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
    for request, ours in zip(batch, engine(model).run(batch, setting), strict=True):
        plain = reference(model, request, setting)
        upto = plain.end + 1
        assert ours.end == plain.end
        assert list(ours.completion_ids[:upto]) == plain.ids[:upto]
        assert list(ours.step_map[:upto]) == plain.step_map[:upto]
        assert ours.logprobs[:upto] == pytest.approx(plain.logprobs[:upto], abs=1e-4)
        assert ours.model_logprobs[:upto] == pytest.approx(plain.model_logprobs[:upto], abs=1e-4)


def test_some_rows_end_early_and_some_never(make_model: MakeModel) -> None:
    """Without both kinds the comparison with the plain sampler would prove little."""
    completions = engine(make_model(vocab_size=12)).run(requests(40), sampler())
    ends = [completion.end for completion in completions]
    assert min(ends) < 6
    assert max(ends) == 14


def test_after_the_end_of_text_nothing_is_left(make_model: MakeModel) -> None:
    for completion in engine(make_model(vocab_size=12)).run(requests(40), sampler()):
        tail = 14 - completion.end - 1
        assert len(completion.completion_ids) == len(completion.step_map) == 14
        assert len(completion.logprobs) == len(completion.model_logprobs) == 14
        assert EOS not in completion.completion_ids[: completion.end]
        assert all(0 <= step < 6 for step in completion.step_map[: completion.end + 1])
        assert all(logprob <= 0 for logprob in completion.logprobs)
        if tail > 0:
            assert completion.completion_ids[-tail - 1 :] == (EOS,) * (tail + 1)
            assert completion.step_map[-tail:] == (-1,) * tail
            assert completion.logprobs[-tail:] == completion.model_logprobs[-tail:] == (0.0,) * tail
        assert all(completion.end < k < 14 and token != MASK for k, token, _ in completion.overwritten)


def test_a_whole_completion_commits_its_budget_at_every_step(make_model: MakeModel) -> None:
    completions = engine(make_model(vocab_size=12)).run(requests(40), sampler())
    whole = [completion.step_map for completion in completions if completion.end == 14]
    assert whole
    for step_map in whole:
        assert [step_map.count(step) for step in range(6)] == [2, 2, 3, 2, 2, 3]


DECODERS: list[dict[str, Any]] = [
    {"temperature": 0.0},
    {"decoder": "entropy"},
    {"decoder": "entropy", "decoder_temperature": 0.3},
    {"decoder": "topk_margin", "top_k": 8},
    {"decoder": "maskgit_plus", "upstream": True},
    {"decoder": "origin"},
    {"decoder": "origin", "upstream": True},
    {"decoder": "low_confidence", "block_length": 7},
    {"decoder": "random", "block_length": 7},
    {"decoder": "threshold", "threshold": 0.3, "block_length": 7},
]


def same(a: Completion, b: Completion) -> bool:
    close = all(
        np.allclose(x, y, atol=1e-5) for x, y in ((a.logprobs, b.logprobs), (a.model_logprobs, b.model_logprobs))
    )
    return close and (a.completion_ids, a.step_map, a.end, a.forwards, a.overwritten) == (
        (b.completion_ids, b.step_map, b.end, b.forwards, b.overwritten)
    )


@pytest.mark.parametrize("case", DECODERS, ids=lambda case: "-".join(map(str, case.values())))
def test_a_completion_depends_neither_on_its_batch_nor_on_its_order(
    make_model: MakeModel, case: dict[str, Any]
) -> None:
    model, setting, batch = make_model(vocab_size=12), sampler(**case), requests(12)
    whole = engine(model).run(batch, setting)
    assert len({completion.end for completion in whole}) > 2, "rows must leave the batch at different times"
    assert all(map(same, engine(model).run(batch[::-1], setting)[::-1], whole))
    assert all(same(engine(model).run([one], setting)[0], alone) for one, alone in zip(batch, whole, strict=True))
    for tokens in (1, 40, 65, 100):  # rows wait, and join others that are half denoised
        assert all(map(same, engine(model, tokens).run(batch, setting), whole))


@pytest.mark.parametrize("case", DECODERS, ids=lambda case: "-".join(map(str, case.values())))
def test_scoring_the_recorded_trace_gives_the_recorded_log_probabilities(
    make_model: MakeModel, case: dict[str, Any]
) -> None:
    """Every token again, in the canvas that its step saw, by the model that the learner scores with."""
    model, setting, batch = make_model(vocab_size=12), sampler(**case), requests(12)
    completions = engine(model).run(batch, setting)
    assert any(completion.overwritten for completion in completions)
    for request, done in zip(batch, completions, strict=True):
        tokens = enumerate(zip(done.completion_ids, done.step_map, strict=True))
        committed = [(k, token, step) for k, (token, step) in tokens if step >= 0] + list(done.overwritten)
        first = len(request.prompt_ids)
        for step in set(done.step_map) - {-1}:
            canvas = [*request.prompt_ids, *[MASK] * 14]
            for k, token, when in committed:
                if when < step:
                    canvas[first + k] = token
            hidden = model.hidden(torch.tensor(canvas), Packing.of([len(canvas)]))
            places = [k for k in range(14) if done.step_map[k] == step]
            sources = model.source_rows(torch.tensor([first + k for k in places]))
            scores = model.logits(hidden[sources]).log_softmax(-1)
            for row, k in zip(scores, places, strict=True):
                assert float(row[done.completion_ids[k]]) == pytest.approx(done.model_logprobs[k], abs=1e-5)
        again = replay(TorchDenoiser(model), request.prompt_ids, done)
        assert again == pytest.approx(done.model_logprobs, abs=1e-5)


def test_forward_passes_are_counted_until_the_text_is_complete(make_model: MakeModel) -> None:
    completions = engine(make_model(vocab_size=12)).run(requests(40), sampler())
    for completion in completions:
        assert completion.forwards == max(completion.step_map[: completion.end + 1]) + 1
        assert completion.versions == (0, 0)
    assert min(completion.forwards for completion in completions) < 6


def test_steps_that_commit_nothing_are_not_made(make_model: MakeModel) -> None:
    """The published schedule with as many steps as tokens does nothing at its first step, and two at its last."""
    setting = sampler(steps=14, decoder="entropy", upstream=True)
    whole = [c for c in engine(make_model(vocab_size=12)).run(requests(40), setting) if c.end == 14]
    assert whole
    assert {completion.forwards for completion in whole} == {13}
    assert {min(completion.step_map) for completion in whole} == {1}


def test_threshold_takes_fewer_steps_the_lower_it_is_and_never_more_than_the_schedule(
    make_model: MakeModel,
) -> None:
    model, batch = make_model(vocab_size=12), requests(12)
    taken = []
    for threshold in (0.1, 0.5, 0.999):
        setting = sampler(steps=7, decoder="threshold", threshold=threshold)
        completions = engine(model).run(batch, setting)
        assert all(MASK not in completion.completion_ids for completion in completions)
        taken.append(sum(completion.forwards for completion in completions))
        assert max(completion.forwards for completion in completions) <= 7
    assert taken[0] < taken[1] < taken[2]


@pytest.mark.parametrize(
    ("prompt", "length", "message"),
    [
        ((), 14, "the prompt is empty"),
        ((5,) * 4090, 14, "4090 tokens and 14 to write are 4104, and the model knows 4096 positions"),
        ((5, 40), 14, "token 40 is not in the vocabulary of 40"),
        ((-1,), 14, "token -1 is not in the vocabulary"),
    ],
)
def test_a_prompt_that_cannot_be_completed_is_one_clear_error(
    make_model: MakeModel, prompt: tuple[int, ...], length: int, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        engine(make_model()).run([Request((5,), key(0, 0)), Request(prompt, key(0, 1))], sampler(length=length))


def test_the_key_decides_the_noise(make_model: MakeModel) -> None:
    prompt = (5, 6, 7)
    keys = [key(0, 0), key(0, 0, seed=12), key(0, 0, purpose="noise-evaluation"), key(0, 1), key(1, 0)]
    ids = [c.completion_ids for c in engine(make_model()).run([Request(prompt, k) for k in keys], sampler())]
    assert len(set(ids)) == len(keys)
    again = engine(make_model()).run([Request(prompt, keys[0])], sampler())
    assert again[0].completion_ids == ids[0]


@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_mask_token_is_never_emitted_however_likely(make_model: MakeModel, temperature: float) -> None:
    model = make_model(tie_word_embeddings=False)
    model.lm_head.weight[MASK] *= -100
    packing = Packing.of([20])
    assert MASK in model.lm_head(model.hidden(torch.full((20,), MASK), packing)).argmax(-1)
    for completion in engine(model).run(requests(12, 40), sampler(temperature, top_p=1.0)):
        assert MASK not in completion.completion_ids


def test_equally_certain_positions_are_committed_from_the_left(make_model: MakeModel) -> None:
    """Positions whose nucleus is one token all have entropy 0: the order must not be the device's choice."""
    model = make_model(vocab_size=12, tie_word_embeddings=False)
    model.lm_head.weight *= 1000
    setting = sampler(0.0, steps=14, length=28)
    for completion in engine(model).run(requests(20), setting):
        steps = completion.step_map[: completion.end + 1]
        assert list(steps) == [k // 2 for k in range(len(steps))]


def test_bfloat16_runs_and_returns_valid_completions(make_model: MakeModel) -> None:
    loop = DenoisingEngine(TorchDenoiser(make_model(vocab_size=12), torch.bfloat16))
    for completion in loop.run(requests(), sampler()):
        assert MASK not in completion.completion_ids
        assert all(math.isfinite(logprob) for logprob in completion.logprobs)


@pytest.mark.parametrize("decoder", ["entropy", "maskgit_plus", "origin"])
def test_weights_that_are_not_numbers_are_an_error(make_model: MakeModel, decoder: str) -> None:
    model = make_model()
    model.model.norm.weight[0] = torch.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        engine(model).run(requests(2, 40), sampler(decoder=decoder))


def test_loaded_weights_are_the_ones_that_sample(make_model: MakeModel) -> None:
    old, new = make_model(seed=0), make_model(seed=1)
    denoiser = TorchDenoiser(old)
    denoiser.load(new.named_parameters())
    batch = requests(6, 40)
    expected = engine(make_model(seed=1)).run(batch, sampler())
    assert DenoisingEngine(denoiser).run(batch, sampler()) == expected


def test_weights_of_another_model_are_refused(make_model: MakeModel) -> None:
    denoiser = TorchDenoiser(make_model())
    weights = dict(make_model().named_parameters())
    with pytest.raises(WeightsError, match="do not fit"):
        denoiser.load((name, tensor) for name, tensor in weights.items() if name != "model.norm.weight")
    for wrong in ({"extra": torch.zeros(1)}, {"model.norm.weight": torch.zeros(1)}):
        with pytest.raises(WeightsError, match="do not fit"):
            denoiser.load((weights | wrong).items())


def test_kernels_are_not_changed_beside_unfinished_requests(make_model: MakeModel) -> None:
    busy = engine(make_model())
    busy.add(requests(4), sampler())
    with pytest.raises(ValueError, match="unfinished"):
        busy.use(Kernels())
