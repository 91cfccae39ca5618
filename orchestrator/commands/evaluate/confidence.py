"""The confidences that `couplet evaluate --confidence` records."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import product

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from common.config import ConfigError
from common.records import Sampler
from evaluation.analysis.confidence import FirstSteps
from evaluation.analysis.recorded import CONFIDENCE
from evaluation.benchmark import AskedBenchmark
from evaluation.completers.interface import Loading
from evaluation.folder import EvaluationFolder
from evaluation.settings import EvaluationSettings

_COLUMNS = (*Progress.get_default_columns(), MofNCompleteColumn())


def check_confidence(settings: EvaluationSettings) -> None:
    """Raise ConfigError for a model whose confidences are not measured."""
    if settings.causal:
        raise ConfigError("--confidence: a causal model sees no masked positions; leave the option out")
    if settings.engine != "torch":
        raise ConfigError(f"--confidence: is not recorded by --engine {settings.engine}; give --engine torch")


def record_confidence(
    folder: EvaluationFolder,
    settings: EvaluationSettings,
    asked: Mapping[tuple[str, str], AskedBenchmark],
    check: Callable[[], None],
) -> None:
    """Measure the first steps of the first sample of each task, in every cell, and write confidence.json.

    Does nothing where the folder has it. ``check`` is called between batches, and may raise. Raises ModelError.
    """
    if (folder.path / CONFIDENCE).exists():
        return
    # torch and the model's code: not for what an option that is refused has to wait for.
    from evaluation.analysis.first_steps import measure_first_steps
    from evaluation.completers.diffusion import rollout_config
    from rollout_workers.engine import build_denoiser

    config = rollout_config(settings, Loading(check=check))
    denoiser, kernels = build_denoiser(config)
    work = [
        (cell, one) for cell, one in product(settings.cells, asked.values()) if one.template.name == cell.template
    ]
    found = []
    with Progress(*_COLUMNS, console=Console(stderr=True)) as bar:
        line = bar.add_task("confidence", total=sum(len(one.prompts) for _, one in work))

        def done(requests: int) -> None:
            bar.advance(line, requests)
            check()

        for cell, one in work:
            assert isinstance(cell.sampler, Sampler)
            requests = one.requests(cell.seed, samples=1)
            steps = measure_first_steps(
                denoiser, kernels, cell.sampler, requests, config.rollout.batch_tokens, done
            )
            found.append(FirstSteps(cell=cell.name, benchmark=one.name, steps=steps))
    record = {"first_steps": [one.model_dump(mode="json") for one in found]}
    folder.write(CONFIDENCE, json.dumps(record) + "\n")
