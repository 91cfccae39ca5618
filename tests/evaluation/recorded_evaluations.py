"""Folders of evaluations, written by hand: what an analysis reads, without a model."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

from common.config import ModelSection
from common.models.folder import load_tokenizer
from common.records import Sampler
from evaluation.analysis.confidence import FirstSteps, StepConfidence
from evaluation.completers.interface import TokenConfidence
from evaluation.samples import Sample
from evaluation.settings import CausalSampler, Cell, EvaluationSettings
from evaluation.templates import template

LENGTH = 16
_PROGRAM = "    return [x * 2 for x in xs]\n"


def make_evaluation(
    folder: Path,
    *,
    temperatures: Sequence[float] = (0.2, 0.6, 1.0),
    steps: Sequence[int] = (16, 8, 4),
    seeds: Sequence[int] = (0,),
    samples: int = 4,
    tasks: int = 5,
    skill: float = 0.5,
    order: float = 0.8,
    confidence: bool = True,
    ended: bool = True,
    causal: bool = False,
    model: str = "builtin:quickstart",
    task_name: Callable[[int], str] = lambda index: f"task/{index}",
) -> Path:
    """Write the folder of an evaluation of made-up completions, and return it.

    ``skill`` is the chance that one passes at the lowest temperature, ``order`` how far it is from left to right.
    """
    chance = random.Random(str(folder.name))
    cells = []
    for temperature, count, seed in product(temperatures, [0] if causal else steps, seeds):
        sampler = (
            CausalSampler(temperature=temperature, completion_length=LENGTH)
            if causal
            else Sampler(temperature=temperature, completion_length=LENGTH, denoising_steps=count)
        )
        cells.append(Cell.of("plain", sampler, seed))
    settings = EvaluationSettings(
        engine="transformers" if causal else "torch",
        model=ModelSection(path=model),
        templates=(template("plain"),),
        cells=tuple(cells),
        samples=samples,
    )
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "settings": settings.model_dump(mode="json"),
        "tasks": {"sums": {"source": "sums.jsonl", "count": tasks, "hash": "0"}},
    }
    (folder / "settings.json").write_text(json.dumps(facts))
    ids = load_tokenizer("builtin:quickstart").encode(_PROGRAM)
    with (folder / "samples.jsonl").open("w") as file:
        for cell, index, number in product(cells, range(tasks), range(samples)):
            length = min(len(ids), LENGTH - 3) if ended else LENGTH
            passed = chance.random() < skill * (1.2 - cell.sampler.temperature / 2) and ended
            step_map = _causal(length) if causal else _step_map(chance, cell, length, order)
            sample = Sample(
                cell=cell.name,
                benchmark="sums",
                task_id=task_name(index),
                index=index,
                sample=number,
                passed=passed,
                excluded=False,
                text=_PROGRAM,
                ended=ended,
                forwards=max(step_map) + 1,
                token_ids=tuple((ids * LENGTH)[:length]),
                executed_step_map=step_map,
                confidence=TokenConfidence(mean=-0.4, variance=chance.random()) if confidence else None,
            )
            file.write(sample.model_dump_json() + "\n")
    if confidence:
        found = [FirstSteps(cell=cell.name, benchmark="sums", steps=_first_steps(tasks)) for cell in cells]
        record = {"first_steps": [one.model_dump(mode="json") for one in found]}
        (folder / "confidence.json").write_text(json.dumps(record))
    return folder


def _causal(length: int) -> tuple[int, ...]:
    return tuple(range(length))


def _step_map(chance: random.Random, cell: Cell, length: int, order: float) -> tuple[int, ...]:
    """The last position first, then the text, more or less from the left, and one position never."""
    assert isinstance(cell.sampler, Sampler)
    disorder = (1 - order) * LENGTH * (0.5 + cell.sampler.temperature)
    places = sorted(range(length), key=lambda k: k + chance.uniform(0, disorder))
    at_once = LENGTH // cell.sampler.denoising_steps
    steps = [-1] * LENGTH
    for number, place in enumerate([*([LENGTH - 1] if length < LENGTH else []), *places]):
        steps[place] = number // at_once
    return tuple(steps)


def _first_steps(tasks: int) -> tuple[StepConfidence, ...]:
    return tuple(
        StepConfidence(
            step=step,
            masked=tuple(0 if k < step else tasks for k in range(LENGTH)),
            mean=tuple(None if k < step else 0.9 / (1 + k - step) for k in range(LENGTH)),
            variance=tuple(None if k < step else 0.01 for k in range(LENGTH)),
            entropy=tuple(None if k < step else 0.3 + k / 10 for k in range(LENGTH)),
            spread=0.05 + step / 100,
        )
        for step in range(8)
    )
