"""The denoising engine beside the published sampler: the same weights, prompts and schedule, in turns, in one run.

The model is random, with a vocabulary as peaked as a trained model's. Its end tokens are so unlikely that no row
ends early, which only the engine would make use of: a step is a step of the whole batch on both sides.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Group
from rich.table import Table
from rich.text import Text

from benchmarks.measure import Meter, describe, headline, product_share
from benchmarks.naive_denoise import denoise, stock_model
from benchmarks.shapes import SHAPES, operations, product_peak
from common.models.config import ModelConfig
from common.models.transformer import MaskedDiffusionModel, initialize
from common.records import Completion, NoiseKey, Sampler
from rollout_workers.batch import Canvas
from rollout_workers.denoiser import Denoiser, TorchDenoiser
from rollout_workers.engine import DenoisingEngine, compiled_where_it_pays
from rollout_workers.kernels import Kernels
from rollout_workers.requests import Request

#: What a case does beside the timed decodes, for the progress display.
EXTRA_STAGES = 7
#: The types of the model's computation that are compared unless others are asked for.
DTYPES = ("float32", "bfloat16")

TEMPERATURE, TOP_P = 1.2, 0.95
_END, _PAD = 0, 1
#: So large that attention and feed-forward tell the mask tokens of different positions apart.
_STD = 0.1
#: Standard deviation of the logits in units of sqrt(2 ln V), about the largest of V normal numbers.
_PEAKEDNESS = 1.35
_ROWS_AT_ONCE = 64
_MIB = 2**20

_LEGEND = (
    "One run, the same weights, the sides in turns: medians; the range is that of the pairs. "
    "matmul: share of the time in matrix products and attention. peak: operations a second of these products, as "
    "a share of those of one large product, measured beside the decodes. MiB: peak memory above the loaded model. "
    "greedy: tokens on which the sides agree at temperature 0, top-p 1; all in fp32, but for near-ties. In bf16 "
    "the published sampler rounds logits, probabilities and entropies to bf16, where the engine samples in fp32: "
    "near-ties about which positions go first are decided otherwise, and what is committed later depends on it."
)


@dataclass(frozen=True)
class Settings:
    """The batch: ``rows`` prompts of about ``prompt`` tokens, in turns an eighth longer and shorter."""

    rows: int
    prompt: int
    completion: int
    steps: int
    repeats: int

    @property
    def prompt_lengths(self) -> tuple[int, ...]:
        off = max(1, self.prompt // 8)
        return tuple(max(1, self.prompt - off) if row % 2 else self.prompt + off for row in range(self.rows))

    @property
    def tokens(self) -> int:
        return sum(self.prompt_lengths) + self.rows * self.completion

    def sampler(self, temperature: float, top_p: float) -> Sampler:
        """The published schedule, so that both sides commit the same number of tokens at every step."""
        return Sampler(
            temperature=temperature,
            top_p=top_p,
            denoising_steps=self.steps,
            completion_length=self.completion,
            upstream=True,
        )


@dataclass(frozen=True)
class Side:
    """One sampler: seconds per denoising step, share of the time in matrix products, peak memory in bytes.

    ``peak_share`` compares the rate of its products with that of one large product.
    """

    step_seconds: float
    product_share: float
    peak_share: float
    peak_bytes: int | None


@dataclass(frozen=True)
class Case:
    """Both samplers on one model. Ratios are naive time over engine time: of the medians, and of the pairs."""

    shape: str
    vocabulary: int
    dtype: str
    nucleus_tokens: float
    greedy_agreement: float
    naive: Side
    engine: Side
    ratio: float
    ratio_min: float
    ratio_max: float


def run(
    shape: int | str,
    dtype: torch.dtype,
    device: torch.device,
    settings: Settings,
    said: Callable[[str], None],
) -> Case:
    """Compare the samplers on one model: of a shape, or a small one with a vocabulary of that size.

    ``said`` hears of every stage before it begins.
    """
    config = model_config(shape, settings)
    vocabulary = config.vocab_size
    model = peaked_model(config, seed=0).to(device)
    # First, as the denoiser may round the weights in place.
    stock = stock_model(model, dtype)
    denoiser = TorchDenoiser(model, dtype)
    said("compiling")
    kernels = compiled_where_it_pays(denoiser, "auto")
    loop = DenoisingEngine(denoiser, settings.tokens, kernels)
    prompts = random_prompts(vocabulary, settings)
    sampler = settings.sampler(TEMPERATURE, TOP_P)
    # Nuclei of one token all have entropy 0, and the published sampler leaves open which of them goes first.
    greedy = settings.sampler(0.0, 1.0)

    def engine(setting: Sampler, seed: int = 0) -> list[Completion]:
        requests = [Request(prompt, NoiseKey(seed, "bench", (row,))) for row, prompt in enumerate(prompts)]
        return loop.run(requests, setting)

    def naive(setting: Sampler, seed: int = 0) -> list[list[int]]:
        torch.manual_seed(seed)
        tokens: list[list[int]] = denoise(stock, model.config, prompts, setting).tolist()
        return tokens

    # The greedy decodes warm up all that does not depend on the temperature.
    said("naive, greedy")
    naive_tokens = naive(greedy)
    said("engine, greedy")
    agreement = greedy_agreement(engine(greedy), naive_tokens)
    said("engine, warm-up")
    engine(sampler)
    said("naive, profiled")
    naive_share = product_share(lambda: naive(sampler), device)
    said("engine, profiled")
    engine_share = product_share(lambda: engine(sampler), device)
    slow, fast = Meter(device), Meter(device)
    # On a CPU that emulates bf16 products, the type that they are computed in.
    native = dtype if describe(device)["bf16_instructions"] else torch.float32
    peaks = [product_peak(device, native)]
    for seed in range(settings.repeats):
        said(f"naive, {seed + 1} of {settings.repeats}")
        slow.measure(partial(naive, sampler, seed))
        said(f"engine, {seed + 1} of {settings.repeats}")
        fast.measure(partial(engine, sampler, seed))
        peaks.append(product_peak(device, native))
    # Last: what was compiled runs slowly once it has run while operations were counted.
    said("counting")
    naive_work, engine_work = operations(lambda: naive(sampler)), operations(lambda: engine(sampler))
    ratios = [one / other for one, other in zip(slow.times, fast.times, strict=True)]
    peak = statistics.median(peaks)
    return Case(
        shape=shape if isinstance(shape, str) else "small",
        vocabulary=vocabulary,
        dtype=str(dtype).removeprefix("torch."),
        nucleus_tokens=_nucleus_tokens(denoiser, kernels, prompts, settings),
        greedy_agreement=agreement,
        naive=Side(slow.median / settings.steps, naive_share, naive_work / slow.median / peak, slow.peak),
        engine=Side(fast.median / settings.steps, engine_share, engine_work / fast.median / peak, fast.peak),
        ratio=slow.median / fast.median,
        ratio_min=min(ratios),
        ratio_max=max(ratios),
    )


def model_config(shape: int | str, settings: Settings) -> ModelConfig:
    """Return a model of one of :data:`SHAPES`, or one so small that this vocabulary is a good part of a step."""
    small = {
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    fields = SHAPES[shape] if isinstance(shape, str) else small | {"vocab_size": shape}
    others = {
        "max_position_embeddings": max(settings.prompt_lengths) + settings.completion,
        "tie_word_embeddings": False,
        "mask_token_id": fields["vocab_size"] - 1,
        "eos_token_id": _END,
        "pad_token_id": _PAD,
    }
    return ModelConfig.model_validate(fields | others)


def peaked_model(config: ModelConfig, seed: int) -> MaskedDiffusionModel:
    """Random weights whose distributions have a nucleus of tens to hundreds of tokens, and no end of the text."""
    model = MaskedDiffusionModel(config)
    initialize(model, torch.Generator().manual_seed(seed), _STD)
    # The last norm gives every hidden state the length sqrt(hidden_size).
    deviation = _PEAKEDNESS * math.sqrt(2 * math.log(config.vocab_size)) / math.sqrt(config.hidden_size)
    with torch.no_grad():
        model.lm_head.weight.mul_(deviation / _STD)
        model.lm_head.weight[list(config.end_token_ids)] = 0.0
    return model.eval().requires_grad_(False)


def random_prompts(vocabulary: int, settings: Settings) -> list[tuple[int, ...]]:
    """Draw the prompts of the batch."""
    numbers = np.random.default_rng(0)
    return [
        tuple(numbers.integers(_PAD + 1, vocabulary - 1, length).tolist()) for length in settings.prompt_lengths
    ]


def greedy_agreement(completions: Sequence[Completion], tokens: Sequence[Sequence[int]]) -> float:
    """Share of the engine's tokens, up to the end of each text, that are the other sampler's too."""
    same = [
        ours == theirs
        for completion, row in zip(completions, tokens, strict=True)
        for ours, theirs in zip(completion.completion_ids[: completion.end + 1], row, strict=False)
    ]
    return sum(same) / len(same)


def as_json(machine: dict[str, Any], settings: Settings, cases: Sequence[Case]) -> dict[str, Any]:
    return {
        "bench": "rollout",
        "machine": machine,
        "settings": asdict(settings) | {"temperature": TEMPERATURE, "top_p": TOP_P, "decoder": "entropy"},
        "cases": [asdict(case) for case in cases],
    }


def batch_line(settings: Settings) -> str:
    """Say in one line what is denoised, and how."""
    lengths = " and ".join(map(str, sorted(set(settings.prompt_lengths))))
    return (
        f"{settings.rows} rows, prompts of {lengths} tokens and {settings.completion} to write in "
        f"{settings.steps} steps, {settings.tokens:,} tokens in all; entropy decoder, temperature {TEMPERATURE}, "
        f"top-p {TOP_P}"
    )


def view(machine: dict[str, Any], settings: Settings, cases: Sequence[Case]) -> Group:
    """The header, the table and what its columns mean."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("model", "vocabulary", "dtype", "sampler"):
        table.add_column(title)
    for title in ("s/step", "ratio", "range", "matmul", "peak", "MiB", "greedy"):
        table.add_column(title, justify="right")
    for case in cases:
        spread = f"{case.ratio_min:.1f}-{case.ratio_max:.1f}"
        table.add_row(case.shape, f"{case.vocabulary:,}", case.dtype, "naive", *_cells(case.naive, "", "", ""))
        agreed = f"{case.greedy_agreement:.0%}"
        table.add_row("", "", "", "engine", *_cells(case.engine, f"{case.ratio:.1f}x", spread, agreed))
    return Group(Text(_header(machine, settings, cases)), Text(), table, Text(), Text(_LEGEND))


def _header(machine: dict[str, Any], settings: Settings, cases: Sequence[Case]) -> str:
    nuclei = {case.vocabulary: case.nucleus_tokens for case in cases}
    return f"{headline(machine)}\n{batch_line(settings)}\nmean nucleus at the first step: " + ", ".join(
        f"{size:.0f} tokens of {vocabulary:,}" for vocabulary, size in nuclei.items()
    )


def _cells(side: Side, ratio: str, spread: str, agreed: str) -> tuple[str, ...]:
    peak = "unknown" if side.peak_bytes is None else f"{side.peak_bytes / _MIB:,.0f}"
    return (
        f"{side.step_seconds:.3f}",
        ratio,
        spread,
        f"{side.product_share:.0%}",
        f"{side.peak_share:.0%}",
        peak,
        agreed,
    )


def _nucleus_tokens(
    denoiser: Denoiser, kernels: Kernels, prompts: Sequence[Sequence[int]], settings: Settings
) -> float:
    """Mean number of tokens in the nucleus of a position at the first step, when all are masked."""
    canvas = Canvas(prompts, settings.completion, denoiser.device)
    canvas.write(torch.full_like(canvas.positions, denoiser.config.mask_token_id))
    hidden = denoiser.hidden(canvas.ids, canvas.packing)
    sizes = []
    with torch.inference_mode():
        for rows in torch.split(hidden[canvas.positions.flatten() - 1], _ROWS_AT_ONCE):
            weights, totals = kernels.exponentials(denoiser.logits(rows), TEMPERATURE, None)
            floor = kernels.nucleus(weights, totals, TOP_P, denoiser.vocabulary).floor
            sizes += (weights >= floor.unsqueeze(-1)).sum(-1).tolist()
    return statistics.fmean(sizes)
