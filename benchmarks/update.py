"""The learner's forward and backward pass beside the naive one: the same weights, masks and loss, in turns, in one
run.

The model is random, of the quick start's shape in the width and depth asked for. The larger it is, the smaller the
share of the output layer, where the sides differ most. Every token of a completion is valid, which leaves the
learner nothing to skip but what no loss reads. Each side makes its own micro-batches, and may have its own way
with what the backward pass needs: the memory of both is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from rich.console import Group
from rich.table import Table
from rich.text import Text
from torch import nn

from benchmarks.measure import Meter, headline
from benchmarks.update_sides import CLIP, KL_WEIGHT, VIEWS, Learner, Naive, random_group, some_anchors
from common.config import Config
from common.models.config import ModelConfig
from common.models.folder import model_folder
from common.models.transformer import MaskedDiffusionModel, initialize
from learner.traffic import pass_tokens

#: What a case does beside the timed calls, and how many of those a repetition has, for the progress display.
EXTRA_STAGES, TIMED_STAGES = 3, 4

_SEED = 0
#: Naive peak memory in units of the logits of all views, rounded up: copies and gradients of them add to it.
_LOGITS_AT_ONCE = 2.5
_MIB = 2**20

#: Which sides keep one hidden state a layer for the backward pass, as the released runs do, and compute the rest
#: again.
Checkpointing = Literal["naive", "both", "neither"]

_LEGEND = (
    "One run, the same weights, the sides in turns: medians; the range is that of the pairs. train: forward and "
    "backward pass of the whole group, without the optimizer. score: without gradients, as for old and reference "
    "policy. MiB: peak memory above both loaded models, and memory how many times the learner's the naive one is. "
    "GFLOP: of the products of a call, by common/flops.py, with what is computed again. "
    "gradient: the largest difference between the sides' gradients, in units of the largest entry."
)


class WidthError(ValueError):
    """A width that the model cannot have; the message says which it can."""


@dataclass(frozen=True)
class Settings:
    """One group of ``group`` completions, of which the naive side scores ``micro_batch`` at a time.

    The learner has ``batch_tokens`` of all views in a pass. ``hidden`` is the model's width, None for the quick
    start's.
    """

    prompt: int
    completion: int
    group: int
    micro_batch: int
    repeats: int
    dtype: str
    layers: int = 2
    checkpointing: Checkpointing = "naive"
    hidden: int | None = None
    batch_tokens: int = pass_tokens(Config.model_fields["learner"].default)

    def naive_bytes(self, vocabulary: int) -> int:
        """About the most memory that the naive side takes."""
        tokens = min(self.micro_batch, self.group) * VIEWS * (self.prompt + self.completion)
        return int(tokens * vocabulary * torch.float32.itemsize * _LOGITS_AT_ONCE)


@dataclass(frozen=True)
class Side:
    """Seconds of a call, its peak memory in bytes, and the floating-point operations of its products."""

    seconds: float
    peak_bytes: int | None
    operations: int


@dataclass(frozen=True)
class Part:
    """Both sides at one task. Ratios are naive over learner: of the medians, and of the pairs."""

    part: str
    naive: Side
    learner: Side
    ratio: float
    ratio_min: float
    ratio_max: float

    @property
    def memory_ratio(self) -> float | None:
        """Naive peak over the learner's; None where one is unknown or too small to be seen."""
        if self.naive.peak_bytes is None or not self.learner.peak_bytes:
            return None
        return self.naive.peak_bytes / self.learner.peak_bytes


@dataclass(frozen=True)
class Case:
    """Both sides on one model. ``gradient_difference`` is in units of the largest entry of the gradient."""

    vocabulary: int
    gradient_difference: float
    parts: tuple[Part, ...]


def run(vocabulary: int, device: torch.device, settings: Settings, said: Callable[[str], None]) -> Case:
    """Compare the sides on one model. ``said`` hears of every stage before it begins."""
    model = random_model(vocabulary, settings).to(device)
    samples = random_group(vocabulary, settings.group, settings.prompt, settings.completion)
    dtype: torch.dtype = getattr(torch, settings.dtype)
    learner = Learner(model, samples, settings.batch_tokens, dtype)
    naive = Naive(model, samples, settings.micro_batch, dtype)
    model.checkpoint_layers = settings.checkpointing == "both"
    if settings.checkpointing != "neither":
        naive.stock.gradient_checkpointing_enable()
        naive.stock.train()  # transformers checkpoints in no other mode; the model has no dropout
    said("learner, scoring")
    anchors = some_anchors(learner.score())
    # Both gradients are there for the comparison, and at no other time.
    said("learner, warm-up")
    learner.train(anchors)
    said("naive, warm-up")
    naive.train(anchors)
    difference = gradient_difference(model, naive.stock)
    learner.policy.zero_grad(set_to_none=True)
    naive.stock.zero_grad(set_to_none=True)

    def compared(name: Literal["train", "score"], slow: Callable[[], object], fast: Callable[[], object]) -> Part:
        meters = Meter(device), Meter(device)
        for number in range(settings.repeats):
            said(f"{name}, naive, {number + 1} of {settings.repeats}")
            meters[0].measure(slow)
            naive.stock.zero_grad(set_to_none=True)
            said(f"{name}, learner, {number + 1} of {settings.repeats}")
            meters[1].measure(fast)
            learner.policy.zero_grad(set_to_none=True)
        return _part(name, meters, (getattr(naive.operations(), name), getattr(learner.operations(), name)))

    train = compared("train", lambda: naive.train(anchors), lambda: learner.train(anchors))
    return Case(vocabulary, difference, (train, compared("score", naive.score, learner.score)))


def random_model(vocabulary: int, settings: Settings) -> MaskedDiffusionModel:
    """Random weights in the quick start's shape; heads keep their width, so a wider model has more of them.

    Raises :class:`WidthError` for a width that whole groups of heads do not make up.
    """
    shape = ModelConfig.from_folder(model_folder("builtin:quickstart"))
    length = settings.prompt + settings.completion
    hidden = settings.hidden or shape.hidden_size
    unit = shape.hidden_size // shape.num_key_value_heads
    if hidden % unit:
        raise WidthError(f"a width of {hidden} is no multiple of {unit}, that of a group of heads")
    changes = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": shape.intermediate_size * hidden // shape.hidden_size,
        "num_attention_heads": hidden // shape.head_dim,
        "num_key_value_heads": hidden // unit,
        "max_position_embeddings": length,
        "num_hidden_layers": settings.layers,
    }
    config = ModelConfig.model_validate(shape.model_dump() | changes)
    model = MaskedDiffusionModel(config)
    initialize(model, torch.Generator().manual_seed(_SEED))
    return model


def gradient_difference(model: nn.Module, other: nn.Module) -> float:
    """The largest difference between the gradients of parameters of one name, in units of the largest entry."""
    theirs = {name: parameter.grad for name, parameter in other.named_parameters()}
    largest = difference = 0.0
    for name, parameter in model.named_parameters():
        mine, their = parameter.grad, theirs[name]
        if mine is None or their is None:
            raise ValueError(f"{name} has no gradient")
        largest = max(largest, float(their.abs().max()))
        difference = max(difference, float((mine - their).abs().max()))
    return difference / largest


def as_json(machine: dict[str, Any], settings: Settings, cases: Sequence[Case]) -> dict[str, Any]:
    found = [asdict(case) for case in cases]
    for entry, case in zip(found, cases, strict=True):
        for fields, part in zip(entry["parts"], case.parts, strict=True):
            fields["memory_ratio"] = part.memory_ratio
    return {
        "bench": "update",
        "machine": machine,
        "settings": asdict(settings) | {"views": VIEWS, "clip": CLIP, "kl_weight": KL_WEIGHT},
        "cases": found,
    }


def view(machine: dict[str, Any], settings: Settings, cases: Sequence[Case]) -> Group:
    """The header, the table and what its columns mean."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("vocabulary", "part", "side"):
        table.add_column(title)
    for title in ("s", "ratio", "range", "GFLOP", "MiB", "memory", "gradient"):
        table.add_column(title, justify="right")
    for case in cases:
        for number, part in enumerate(case.parts):
            first = number == 0
            vocabulary = f"{case.vocabulary:,}" if first else ""
            seconds, work, peak = _cells(part.naive)
            table.add_row(vocabulary, part.part, "naive", seconds, "", "", work, peak)
            seconds, work, peak = _cells(part.learner)
            spread = f"{part.ratio_min:.1f}-{part.ratio_max:.1f}"
            memory = "unknown" if part.memory_ratio is None else f"{part.memory_ratio:.1f}x"
            off = f"{case.gradient_difference:.0e}" if first else ""
            table.add_row("", "", "learner", seconds, f"{part.ratio:.1f}x", spread, work, peak, memory, off)
    width = f"width {settings.hidden}" if settings.hidden else "the quick start's width"
    header = (
        f"{headline(machine)}\n"
        f"{settings.group} completions of {settings.completion} tokens to a prompt of {settings.prompt}, "
        f"naive {settings.micro_batch} at a time in {VIEWS} views, learner {settings.batch_tokens:,} tokens, "
        f"{settings.dtype}, {settings.layers} layers of {width}, gradient checkpointing: "
        f"{settings.checkpointing}; clip {CLIP}, KL weight {KL_WEIGHT}"
    )
    return Group(Text(header), Text(), table, Text(), Text(_LEGEND))


def _part(name: str, meters: tuple[Meter, Meter], operations: tuple[int, int]) -> Part:
    naive, learner = meters
    ratios = [one / other for one, other in zip(naive.times, learner.times, strict=True)]
    return Part(
        name,
        Side(naive.median, naive.peak, operations[0]),
        Side(learner.median, learner.peak, operations[1]),
        naive.median / learner.median,
        min(ratios),
        max(ratios),
    )


def _cells(side: Side) -> tuple[str, str, str]:
    peak = "unknown" if side.peak_bytes is None else f"{side.peak_bytes / _MIB:,.0f}"
    return f"{side.seconds:.2f}", f"{side.operations / 1e9:,.0f}", peak
