"""The learner's forward and backward pass beside the naive one: the same weights, masks, micro-batches and loss,
in turns, in one run.

The model is random, of the quick start's shape in the width and depth asked for. The larger it is, the smaller the
share of the output layer, where the sides differ most. Every token of a completion is valid, which leaves the
learner nothing to skip but what no loss reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Group
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from benchmarks import naive_update
from benchmarks.measure import Meter, headline
from benchmarks.naive_denoise import stock_model
from common.likelihood.coupled import CoupledEstimator
from common.models.config import ModelConfig
from common.models.loading import model_folder
from common.models.transformer import MaskedDiffusionModel, initialize
from learner.batch import PackedViews, pack_views
from learner.objectives.grpo import TokenGrpo
from learner.objectives.ratios import Clip
from learner.partition import MicroBatch, micro_batches, units
from learner.policy import Policy
from learner.samples import TrainingSample

#: What a case does beside the timed calls, and how many of those a repetition has, for the progress display.
EXTRA_STAGES, TIMED_STAGES = 3, 4

_SEED = 0
_ESTIMATOR = CoupledEstimator()
_VIEWS = 1 + 2 * _ESTIMATOR.pairs
#: Behind the special tokens of the quick start's model.
_FIRST_TEXT_ID = 2
#: DiffuCoder's.
_CLIP, _KL_WEIGHT = 0.5, 0.01
#: How far the old estimates are from the new: within the clip and beyond it, and not where rounding could decide.
_OLD_OFFSETS = (-0.8, -0.1, 0.1, 0.8)
_REFERENCE_DEVIATION = 0.1
#: Naive peak memory in units of the logits of all views, rounded up: copies and gradients of them add to it.
_LOGITS_AT_ONCE = 2.5
_MIB = 2**20

#: Old and reference estimates [T] of the tokens of a micro-batch.
Anchors = tuple[Tensor, Tensor]

_LEGEND = (
    "One run, the same weights, the sides in turns: medians; the range is that of the pairs. train: forward and "
    "backward pass of the whole group, without the optimizer. score: without gradients, as for old and reference "
    "policy. MiB: peak memory above both loaded models, and memory how many times the learner's the naive one is. "
    "gradient: the largest difference between the sides' gradients, in units of the largest entry."
)


class WidthError(ValueError):
    """A width that the model cannot have; the message says which it can."""


@dataclass(frozen=True)
class Settings:
    """One group of ``group`` completions, of which ``micro_batch`` are scored at a time.

    ``hidden`` is the model's width, None for the quick start's. ``checkpointing``: both sides keep one hidden
    state a layer for the backward pass, as in the released runs.
    """

    prompt: int
    completion: int
    group: int
    micro_batch: int
    repeats: int
    dtype: str
    layers: int = 2
    checkpointing: bool = True
    hidden: int | None = None

    @property
    def batch_tokens(self) -> int:
        """Tokens of a micro-batch in all views."""
        return min(self.micro_batch, self.group) * _VIEWS * (self.prompt + self.completion)

    def naive_bytes(self, vocabulary: int) -> int:
        """About the most memory that the naive side takes."""
        return int(self.batch_tokens * vocabulary * torch.float32.itemsize * _LOGITS_AT_ONCE)


@dataclass(frozen=True)
class Side:
    """Seconds of a call, and its peak memory in bytes."""

    seconds: float
    peak_bytes: int | None


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


class Learner:
    """The learner's side."""

    def __init__(self, model: MaskedDiffusionModel, batches: Sequence[MicroBatch], dtype: torch.dtype) -> None:
        self.policy = Policy(model, dtype)
        self._batches = batches
        self._objective = TokenGrpo(Clip(_CLIP, _CLIP), _KL_WEIGHT)
        self._count = self._objective.count([[piece.sample] for batch in batches for piece in batch])

    @torch.no_grad()
    def score(self) -> list[Tensor]:
        """The estimates [T] of every micro-batch's tokens, by position and then by sample."""
        return [packed.tokens.estimates(self.policy.log_probs(packed)) for packed in self._packed()]

    def train(self, anchors: Sequence[Anchors]) -> None:
        """Add up the gradient of all micro-batches."""
        for packed, (old, reference) in zip(self._packed(), anchors, strict=True):
            anchored = packed.with_estimates(old=old, reference=reference)
            loss = self.policy.loss(anchored, partial(self._loss_of, anchored)).value
            torch.autograd.backward(loss / self._count)

    def _loss_of(self, packed: PackedViews, rows: slice, log_probs: Tensor) -> Tensor:
        return self._objective.sums(packed.part(rows), log_probs).loss

    def _packed(self) -> Iterator[PackedViews]:
        config, device = self.policy.model.config, next(self.policy.parameters()).device
        for batch in self._batches:
            views = [_ESTIMATOR.views(piece.sample.key(_SEED, 0), piece.sample) for piece in batch]
            yield pack_views(batch, views, config.mask_token_id, device)


class Naive:
    """The naive side, on the same micro-batches."""

    def __init__(self, model: MaskedDiffusionModel, batches: Sequence[MicroBatch], dtype: torch.dtype) -> None:
        self.stock = stock_model(model, torch.float32).requires_grad_(True)
        self._config = model.config
        self._dtype = dtype
        self._batches = [[piece.sample for piece in batch] for batch in batches]
        self._count = sum(sample.valid_tokens for samples in self._batches for sample in samples)

    @torch.no_grad()
    def score(self) -> list[Tensor]:
        """As :meth:`Learner.score`."""
        return [self._estimates(samples).T.flatten() for samples in self._batches]

    def train(self, anchors: Sequence[Anchors]) -> None:
        """As :meth:`Learner.train`."""
        for samples, given in zip(self._batches, anchors, strict=True):
            new = self._estimates(samples)
            old, reference = (estimates.view_as(new.T).T for estimates in given)
            loss = naive_update.grpo(new, old, reference, samples, _CLIP, _KL_WEIGHT)
            torch.autograd.backward(loss / self._count)

    def _estimates(self, samples: Sequence[TrainingSample]) -> Tensor:
        views = [_ESTIMATOR.views(sample.key(_SEED, 0), sample) for sample in samples]
        return naive_update.estimates(self.stock, self._config, samples, views, self._dtype)


def run(vocabulary: int, device: torch.device, settings: Settings, said: Callable[[str], None]) -> Case:
    """Compare the sides on one model. ``said`` hears of every stage before it begins."""
    model = random_model(vocabulary, settings).to(device)
    batches = group_batches(vocabulary, settings)
    dtype: torch.dtype = getattr(torch, settings.dtype)
    learner, naive = Learner(model, batches, dtype), Naive(model, batches, dtype)
    if settings.checkpointing:
        model.checkpoint_layers = True
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

    def compared(name: str, slow: Callable[[], object], fast: Callable[[], object]) -> Part:
        meters = Meter(device), Meter(device)
        for number in range(settings.repeats):
            said(f"{name}, naive, {number + 1} of {settings.repeats}")
            meters[0].measure(slow)
            naive.stock.zero_grad(set_to_none=True)
            said(f"{name}, learner, {number + 1} of {settings.repeats}")
            meters[1].measure(fast)
            learner.policy.zero_grad(set_to_none=True)
        return _part(name, *meters)

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


def group_batches(vocabulary: int, settings: Settings) -> list[MicroBatch]:
    """The micro-batches of one group of random completions, as the learner would cut it."""
    numbers = np.random.default_rng(_SEED)

    def text(length: int) -> tuple[int, ...]:
        return tuple(numbers.integers(_FIRST_TEXT_ID, vocabulary, length).tolist())

    prompt = text(settings.prompt)
    samples = [
        TrainingSample(
            group=0,
            sample=number,
            prompt_ids=prompt,
            completion_ids=text(settings.completion),
            valid_tokens=settings.completion,
            advantage=-0.5 if number % 2 else 0.5,
        )
        for number in range(settings.group)
    ]
    parts = units([[sample] for sample in samples], _ESTIMATOR, _SEED, by_token=True)
    return micro_batches(parts, ranks=1, batch_tokens=settings.batch_tokens)[0]


def some_anchors(estimates: Sequence[Tensor]) -> list[Anchors]:
    """Old and reference estimates a little off the given ones, so that ratios and KL matter to the gradient."""
    numbers = np.random.default_rng(_SEED)
    anchors = []
    for new in estimates:
        old = torch.tensor(numbers.choice(_OLD_OFFSETS, len(new)), dtype=new.dtype, device=new.device)
        reference = torch.tensor(
            numbers.normal(0.0, _REFERENCE_DEVIATION, len(new)), dtype=new.dtype, device=new.device
        )
        anchors.append((new + old, new + reference))
    return anchors


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
        "settings": asdict(settings) | {"views": _VIEWS, "clip": _CLIP, "kl_weight": _KL_WEIGHT},
        "cases": found,
    }


def view(machine: dict[str, Any], settings: Settings, cases: Sequence[Case]) -> Group:
    """The header, the table and what its columns mean."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("vocabulary", "part", "side"):
        table.add_column(title)
    for title in ("s", "ratio", "range", "MiB", "memory", "gradient"):
        table.add_column(title, justify="right")
    for case in cases:
        for number, part in enumerate(case.parts):
            first = number == 0
            vocabulary = f"{case.vocabulary:,}" if first else ""
            seconds, peak = _cells(part.naive)
            table.add_row(vocabulary, part.part, "naive", seconds, "", "", peak)
            seconds, peak = _cells(part.learner)
            spread = f"{part.ratio_min:.1f}-{part.ratio_max:.1f}"
            memory = "unknown" if part.memory_ratio is None else f"{part.memory_ratio:.1f}x"
            off = f"{case.gradient_difference:.0e}" if first else ""
            table.add_row("", "", "learner", seconds, f"{part.ratio:.1f}x", spread, peak, memory, off)
    width = f"width {settings.hidden}" if settings.hidden else "the quick start's width"
    header = (
        f"{headline(machine)}\n"
        f"{settings.group} completions of {settings.completion} tokens to a prompt of {settings.prompt}, "
        f"{settings.micro_batch} at a time in {_VIEWS} views, {settings.dtype}, "
        f"{settings.layers} layers of {width} {'with' if settings.checkpointing else 'without'} gradient "
        f"checkpointing on both sides; "
        f"clip {_CLIP}, KL weight {_KL_WEIGHT}"
    )
    return Group(Text(header), Text(), table, Text(), Text(_LEGEND))


def _part(name: str, naive: Meter, learner: Meter) -> Part:
    ratios = [one / other for one, other in zip(naive.times, learner.times, strict=True)]
    return Part(
        name,
        Side(naive.median, naive.peak),
        Side(learner.median, learner.peak),
        naive.median / learner.median,
        min(ratios),
        max(ratios),
    )


def _cells(side: Side) -> tuple[str, str]:
    return f"{side.seconds:.2f}", "unknown" if side.peak_bytes is None else f"{side.peak_bytes / _MIB:,.0f}"
