"""An optimizer step of each supervised stage beside a plain training loop: the same weights, noise and loss, in
turns, in one run.

The model is random. Lengths of documents are drawn as those of code are: many short ones, and some as long as the
context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Group
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from benchmarks import naive_stages
from benchmarks.measure import Meter, headline
from benchmarks.naive_denoise import stock_model
from common import rng
from common.config import DenoisingConfig, Stage
from common.flops import training_flops
from common.models.config import ModelConfig
from common.models.transformer import MaskedDiffusionModel, initialize
from learner.policy import Policy
from learner.stages.annealing import visible_pairs
from learner.stages.batch import micro_batches, pack
from learner.stages.noise import Noised, noised
from learner.stages.segments import Segment

STAGES: tuple[Stage, ...] = ("adapt", "pretrain", "sft")
_SEED = 0
#: End of text and pad, mask; text is behind them.
_END, _MASK, _FIRST_TEXT = 0, 1, 2
_LEARNING_RATE = 1e-5
_MIB = 2**20
_LEGEND = (
    "One run, the same weights and masks, the sides in turns: medians of whole optimizer steps (forward, "
    "backward and AdamW). plain: transformers' model on padded rows, and the logits of every position, for as "
    "many rows at a time as fill a micro-batch. tokens/s counts tokens of documents, not those that fill up "
    "rows. MiB: peak memory above both loaded models and their optimizers. GFLOP/s: the model's products. "
    "gradient: the largest difference between the sides' gradients, in units of the largest entry. adapt: "
    "halfway through annealing. sft: answers of random length, filled up with learned pads."
)


@dataclass(frozen=True)
class Settings:
    """``sequences`` of ``context`` tokens make a step, in micro-batches of ``batch_tokens``."""

    vocabulary: int
    hidden: int
    layers: int
    context: int
    sequences: int
    batch_tokens: int
    repeats: int
    dtype: torch.dtype

    def model_config(self) -> ModelConfig:
        """A model of Qwen2's proportions."""
        return ModelConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.hidden * 3,
            num_hidden_layers=self.layers,
            num_attention_heads=max(1, self.hidden // 64),
            num_key_value_heads=max(1, self.hidden // 64),
            tie_word_embeddings=True,
            mask_token_id=_MASK,
            eos_token_id=_END,
            pad_token_id=_END,
        )


@dataclass(frozen=True)
class Side:
    """Seconds of a step, and its peak memory in bytes; None where the system does not tell."""

    seconds: float
    peak_bytes: int | None


@dataclass(frozen=True)
class Case:
    """Both sides of a stage. ``tokens`` and ``flops`` are those of a step, without pads that are not learned."""

    stage: Stage
    tokens: int
    flops: int
    plain: Side
    ours: Side
    gradient_difference: float

    @property
    def speed_up(self) -> float:
        """Tokens per second of ours, as a multiple of those of the plain loop."""
        return self.plain.seconds / self.ours.seconds


def some_segments(settings: Settings, stage: Stage) -> list[Segment]:
    """Draw the segments of a step: sequences of whole documents, or examples filled up with pads."""
    draw = rng.stream(_SEED, "bench stages", STAGES.index(stage))
    segments: list[Segment] = []

    def text(length: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        return draw.integers(_FIRST_TEXT, settings.vocabulary, length)

    for number in range(settings.sequences):
        if stage == "sft":
            prompt, answer = (int(settings.context * share) for share in (0.2, 0.1 + 0.6 * draw.random()))
            padding = settings.context - prompt - answer
            ids = np.concatenate([text(prompt + answer), np.full(padding, _END)])
            segments.append(Segment(ids, (0, number, 0, 0), prompt, padding))
            continue
        left = settings.context
        while left:
            # Log-normal, as sizes of files are, with a mean of about half the context.
            length = min(left, 1 + int(settings.context / 4 * draw.lognormal(0.0, 1.0)))
            segments.append(Segment(text(length), (0, len(segments), 0, 0)))
            left -= length
    return segments


class Ours:
    """What a rank does with its segments (:class:`learner.stages.engine.StageEngine`), without DeepSpeed."""

    def __init__(self, model: MaskedDiffusionModel, settings: Settings, visible: Tensor | None) -> None:
        self._policy, self._settings, self._visible = Policy(model, settings.dtype), settings, visible
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE)

    def gradient(self, segments: Sequence[Noised]) -> None:
        """Add up the gradient of a step."""
        model = self._policy.model
        self._optimizer.zero_grad()
        for batch in micro_batches(segments, 1, 0, self._settings.batch_tokens):
            packed = pack(batch, model.config.mask_token_id, model.device)

            def weighed(rows: slice, log_probs: Tensor, weights: Tensor = packed.weights) -> Tensor:
                return -(weights[rows] * log_probs).sum()

            torch.autograd.backward(self._policy.loss(packed, weighed, self._visible).value)

    def step(self, segments: Sequence[Noised]) -> None:
        """Take an optimizer step."""
        self.gradient(segments)
        self._optimizer.step()


class Plain:
    """The plain loop; rows of a micro-batch are as many as fit ``batch_tokens`` at the context's length."""

    def __init__(self, model: MaskedDiffusionModel, settings: Settings, visible: Tensor | None) -> None:
        self._config, self._settings, self._visible = model.config, settings, visible
        self.stock = stock_model(model, torch.float32).train().requires_grad_(True)
        # Else the embedding of a pad has no gradient, and stage 3 learns it.
        self.stock.get_input_embeddings().padding_idx = None
        self._optimizer = torch.optim.AdamW(self.stock.parameters(), lr=_LEARNING_RATE)

    def gradient(self, segments: Sequence[Noised]) -> None:
        """Add up the gradient of a step."""
        rows = max(1, self._settings.batch_tokens // self._settings.context)
        self._optimizer.zero_grad()
        for start in range(0, len(segments), rows):
            batch = segments[start : start + rows]
            loss = naive_stages.loss(self.stock, self._config, batch, self._visible, self._settings.dtype)
            torch.autograd.backward(loss)

    def step(self, segments: Sequence[Noised]) -> None:
        """Take an optimizer step."""
        self.gradient(segments)
        self._optimizer.step()


def run(stage: Stage, device: torch.device, settings: Settings, said: Callable[[str], None]) -> Case:
    """Measure both sides of a stage. ``said`` is told what is done next."""
    model = MaskedDiffusionModel(settings.model_config())
    initialize(model, torch.Generator().manual_seed(_SEED))
    model.to(device)
    half_way = torch.from_numpy(visible_pairs(0.5, settings.context, _SEED, 0)).to(device)
    visible = half_way if stage == "adapt" else None
    objective = DenoisingConfig()
    drawn = [noised(each, objective, _SEED, 1.0, model.config.shift) for each in some_segments(settings, stage)]
    ours, plain = Ours(model, settings, visible), Plain(model, settings, visible)
    said("gradients")
    ours.gradient(drawn)
    plain.gradient(drawn)
    difference = gradient_difference(model, plain.stock)
    # The first step of AdamW takes the memory of its state.
    ours.step(drawn)
    plain.step(drawn)
    meters = Meter(device), Meter(device)
    for _ in range(settings.repeats):
        said("plain")
        meters[0].measure(lambda: plain.step(drawn))
        said("ours")
        meters[1].measure(lambda: ours.step(drawn))
    lengths = [len(segment) for segment in drawn]
    flops = training_flops(model.config, lengths, sum(segment.masked_targets for segment in drawn))
    sides = [Side(meter.median, meter.peak) for meter in meters]
    return Case(stage, sum(lengths), flops, sides[0], sides[1], difference)


def gradient_difference(model: MaskedDiffusionModel, stock: nn.Module) -> float:
    """Return the largest difference between the gradients of both, in units of the largest entry."""
    theirs = dict(stock.named_parameters())
    pairs = [(p.grad, theirs[name].grad) for name, p in model.named_parameters() if name in theirs]
    largest = max(float(mine.abs().max()) for mine, _ in _both(pairs))
    return max(float((mine - other).abs().max()) for mine, other in _both(pairs)) / largest


def _both(pairs: Sequence[tuple[Tensor | None, Tensor | None]]) -> Iterator[tuple[Tensor, Tensor]]:
    return ((mine, other) for mine, other in pairs if mine is not None and other is not None)


def view(machine: dict[str, Any], settings: Settings, cases: Sequence[Case]) -> Group:
    """Show the cases as a table."""
    table = Table()
    for name in ("stage", "side", "tokens/s", "MiB", "GFLOP/s", "gradient"):
        table.add_column(name, justify="left" if name in ("stage", "side") else "right")
    for case in cases:
        for name, side in (("plain", case.plain), ("ours", case.ours)):
            mine = name == "ours"
            table.add_row(
                case.stage if not mine else f"{case.speed_up:.2f} x",
                name,
                f"{case.tokens / side.seconds:,.0f}",
                "?" if side.peak_bytes is None else f"{side.peak_bytes / _MIB:,.0f}",
                _gflops(case.flops / side.seconds / 1e9),
                f"{case.gradient_difference:.0e}" if mine else "",
            )
    shape = f"{settings.layers} layers of {settings.hidden}, {settings.vocabulary:,} tokens in the vocabulary"
    step = f"{settings.sequences} sequences of {settings.context} tokens a step, {settings.dtype}"
    return Group(Text(headline(machine)), Text(f"{shape}; {step}"), table, Text(_LEGEND, style="dim"))


def _gflops(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def as_json(machine: dict[str, Any], cases: Sequence[Case]) -> dict[str, Any]:
    """Return the cases as plain data."""
    return {
        "machine": machine,
        "cases": [
            {
                "stage": case.stage,
                "tokens": case.tokens,
                "flops": case.flops,
                "plain": vars(case.plain),
                "ours": vars(case.ours),
                "speed_up": case.speed_up,
                "gradient_difference": case.gradient_difference,
            }
            for case in cases
        ],
    }
