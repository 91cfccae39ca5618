"""The vllm backend beside the torch backend: the same random model and requests, in turns, in one run.

Both are built as a rollout worker builds them. What they write is compared: times of backends that do not compute
the same could not be.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Group
from rich.table import Table
from rich.text import Text

from benchmarks import rollout
from benchmarks.divergence import Parity, compare
from benchmarks.measure import headline, seconds
from benchmarks.rollout import TEMPERATURE, TOP_P
from common.config import Config
from common.errors import UserError
from common.models.loading import save_model
from common.records import Completion, NoiseKey, Sampler
from rollout_workers.backends.interface import Engine
from rollout_workers.backends.registry import build_backend
from rollout_workers.backends.vllm_backend.installation import INSTALL, VllmUnusableError, find_installation
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.requests import Request

#: What a case does beside the timed decodes, for the progress display.
EXTRA_STAGES = 5
#: The types of the model's computation that are compared unless others are asked for.
DTYPES = ("float32",)
#: A process of vLLM's that waits for its next call polls for a second, and only then sleeps.
_REST_SECONDS = 1.5

_LEGEND = (
    "One run, the same weights and noise, one engine at work at a time, in alternating order. All times in "
    "seconds. s/step: the time of a decode of the whole batch, prompts in and completions out, over its "
    "denoising steps: median and least; vllm is asked once for every 16 steps. ratio: torch time over vllm "
    "time, of the medians; the range is that of the pairs. start: from nothing to a loaded model. It compiles "
    "statistics over the vocabulary; each start but the first finds some of that, and of the imports, done. "
    "first: the first decode, in which --compile compiles vLLM's model. the same: every step of a completion "
    "wrote the same in both. near-ties: in fp32, changing logits by up to 1e-4 at the first step that differs "
    "makes either engine's choice; from there on the texts are different ones. In bf16 the two round "
    "differently in every layer, and differ by more than such ties."
)


class DifferentBackendsError(UserError, RuntimeError):
    """The backends do not compute the same, and rounding is not the reason."""


@dataclass(frozen=True)
class Settings(rollout.Settings):
    """The batch, and whether vLLM compiles the model."""

    compile: bool


@dataclass(frozen=True)
class Side:
    """One backend: seconds to start it and of its first decode, and per denoising step of each other decode."""

    start_seconds: float
    first_seconds: float
    step_seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.step_seconds)


@dataclass(frozen=True)
class Case:
    """Both backends on one model. ``near_ties`` of the completions that are not the ``same``; None in bf16."""

    vocabulary: int
    dtype: str
    torch: Side
    vllm: Side
    completions: int
    same: int
    near_ties: int | None

    @property
    def ratio(self) -> float:
        """Torch time over vllm time, of the medians."""
        return self.torch.median / self.vllm.median

    @property
    def ratios(self) -> tuple[float, ...]:
        """Torch time over vllm time of each pair."""
        return tuple(a / b for a, b in zip(self.torch.step_seconds, self.vllm.step_seconds, strict=True))


class TimedBackend:
    """A backend, what it has written, and how long that took."""

    def __init__(self, config: Config, device: torch.device) -> None:
        begun = time.perf_counter()
        self._backend = build_backend(config)
        self._backend.prepare(config.rollout)
        self.close = self._backend.close
        self._start_seconds = time.perf_counter() - begun
        self._device = device
        self._seconds: list[float] = []

    def decode(self, requests: Sequence[Request], sampler: Sampler) -> list[Completion]:
        """Complete the requests, and note the time."""
        time.sleep(_REST_SECONDS)
        done: list[Completion] = []
        taken = seconds(lambda: done.extend(complete(self._backend.engine, requests, sampler)), self._device)
        self._seconds.append(taken)
        return done

    def times(self, steps: int) -> Side:
        """Sum up; every decode was of so many ``steps``."""
        first, *others = self._seconds
        return Side(self._start_seconds, first, tuple(taken / steps for taken in others))


def vllm_device() -> torch.device:
    """Return the device of the vLLM that is installed. Raises VllmUnusableError."""
    found = find_installation()
    if found is None:
        raise VllmUnusableError("vllm is not installed", INSTALL)
    return torch.device("cuda" if found.for_gpus else "cpu")


def run(
    vocabulary: int, dtype: torch.dtype, device: torch.device, settings: Settings, said: Callable[[str], None]
) -> Case:
    """Compare the backends on one model. ``said`` hears of every stage before it begins.

    Raises VllmError, and DifferentBackendsError for backends that do not compute the same.
    """
    said("making a model")
    model = rollout.peaked_model(rollout.model_config(vocabulary, settings), seed=0)
    prompts = rollout.random_prompts(vocabulary, settings)
    sampler = settings.sampler(TEMPERATURE, TOP_P)
    name = str(dtype).removeprefix("torch.")
    exact = dtype == torch.float32
    parity = Parity(0, ())
    with ExitStack() as started:
        folder = Path(started.enter_context(TemporaryDirectory()))
        save_model(model.config, model.named_parameters(), folder / "model", source=folder)
        reference = TorchDenoiser(model.to(device))
        # The other half of a GPU's memory is the torch backend's.
        vllm = {"kind": "vllm", "enforce_eager": not settings.compile, "gpu_memory_utilization": 0.5}
        options: dict[str, dict[str, Any]] = {"torch": {"kind": "torch"}, "vllm": vllm}
        sides = {}
        for kind in ("torch", "vllm"):
            said(f"starting {kind}")
            sides[kind] = TimedBackend(
                worker_config(folder / "model", name, device.type, settings, options[kind]), device
            )
            started.callback(sides[kind].close)
        for repeat in range(1 + settings.repeats):
            requests = [Request(prompt, NoiseKey(repeat, "bench", (row,))) for row, prompt in enumerate(prompts)]
            done = {}
            for kind in list(sides)[:: -1 if repeat % 2 else 1]:
                said(f"{kind}, {repeat} of {settings.repeats}" if repeat else f"{kind}, first")
                done[kind] = sides[kind].decode(requests, sampler)
            parity += compare(reference, requests, sampler, done["torch"], done["vllm"], explain=exact)
            if exact and parity.unexplained:
                raise DifferentBackendsError(f"the backends do not compute the same: {parity}")
    return Case(
        vocabulary=vocabulary,
        dtype=name,
        torch=sides["torch"].times(settings.steps),
        vllm=sides["vllm"].times(settings.steps),
        completions=parity.completions,
        same=parity.same,
        near_ties=parity.near_ties if exact else None,
    )


def complete(engine: Engine, requests: Sequence[Request], sampler: Sampler) -> list[Completion]:
    """Denoise requests to their end; return the completions in the order of the requests."""
    engine.add(requests, sampler)
    found: dict[NoiseKey, Completion] = {}
    while engine.has_unfinished:
        found |= {done.request.key: done.completion for done in engine.step(0)}
    return [found[request.key] for request in requests]


def worker_config(
    model: Path | str, dtype: str, device: str, settings: rollout.Settings, backend: dict[str, Any]
) -> Config:
    """Configure a rollout worker that has the cores of this process, and room for the whole batch."""
    rollouts = {
        "backend": backend,
        "batch_tokens": settings.tokens,
        "completion_length": settings.completion,
        "denoising_steps": settings.steps,
    }
    threads = torch.get_num_threads()
    return Config.model_validate(
        {
            "model": {"path": str(model), "dtype": dtype, "device": device, "threads": threads},
            "data": {"source": "synthetic", "max_prompt_tokens": max(settings.prompt_lengths)},
            "rollout": rollouts,
        }
    )


def as_json(machine: dict[str, Any], settings: Settings, cases: Sequence[Case]) -> dict[str, Any]:
    return {
        "bench": "rollout",
        "backend": "vllm",
        "machine": machine,
        "settings": asdict(settings) | {"temperature": TEMPERATURE, "top_p": TOP_P, "decoder": "entropy"},
        "cases": [asdict(case) | {"ratio": case.ratio} for case in cases],
    }


def view(machine: dict[str, Any], settings: Settings, cases: Sequence[Case]) -> Group:
    """The header, the table and what its columns mean."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("vocab", "dtype", "backend"):
        table.add_column(title)
    for title in ("s/step", "least", "ratio", "range", "start", "first"):
        table.add_column(title, justify="right")
    lines = [
        headline(machine),
        f"{rollout.batch_line(settings)}; vLLM {'compiled' if settings.compile else 'eager'}",
    ]
    for case in cases:
        spread = f"{min(case.ratios):.2f}-{max(case.ratios):.2f}"
        table.add_row(f"{case.vocabulary:,}", case.dtype, "torch", *_cells(case.torch, "", ""))
        table.add_row("", "", "vllm", *_cells(case.vllm, f"{case.ratio:.2f}x", spread))
        ties = "" if case.near_ties is None else f", {case.near_ties} part at a near-tie"
        lines.append(f"{case.vocabulary:,} {case.dtype}: {case.same} of {case.completions} are the same{ties}")
    return Group(Text("\n".join(lines)), Text(), table, Text(), Text(_LEGEND))


def _cells(side: Side, ratio: str, spread: str) -> tuple[str, ...]:
    steps = (f"{side.median:.3f}", f"{min(side.step_seconds):.3f}")
    return (*steps, ratio, spread, f"{side.start_seconds:.1f}", f"{side.first_seconds:.1f}")
