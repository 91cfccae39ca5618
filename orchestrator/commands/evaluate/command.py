"""``couplet evaluate``: pass rates of a model on task files, with every sample kept."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import click

from common.errors import RunFailedError, UserError
from evaluation.benchmark import AskedBenchmark, Benchmark, ask
from evaluation.completers.interface import Completer, Loading
from evaluation.folder import EvaluationFolder
from evaluation.harness import Harness
from evaluation.results import Results
from evaluation.settings import EvaluationSettings
from evaluation.subject import Subject
from orchestrator.commands.evaluate.benchmarks import load_benchmarks
from orchestrator.commands.evaluate.confidence import check_confidence, record_confidence
from orchestrator.commands.evaluate.facts import evaluation_facts
from orchestrator.commands.evaluate.naming import in_options
from orchestrator.commands.evaluate.options import check_answer_prefix, evaluation_settings, sampling_options
from orchestrator.commands.evaluate.outcome import check_all_scored, report
from orchestrator.commands.evaluate.presets import apply_preset
from orchestrator.commands.evaluate.progress import shown_progress
from orchestrator.commands.evaluate.several import several
from orchestrator.commands.score.options import SANDBOX_PARAMETERS, reward_config, sandbox_options
from orchestrator.interrupt import Interrupted, StopRequest
from reward_service.scoring_pool import ScoringPool


@click.command()
@click.argument("model")
@click.argument("tasks", nargs=-1, required=True, metavar="TASKS...")
@click.option(
    "--engine",
    type=click.Choice(("torch", "vllm", "transformers")),
    help="What runs the model [default: torch, and vllm for a causal model].",
)
@click.option(
    "--format", "format_name", help="Format of all TASKS, by its name [default: told from the fields of each row]."
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="Evaluate only the first so many tasks of each file [default: all].",
)
@several(
    "--k",
    "ks",
    of=click.IntRange(min=1),
    metavar="K,...",
    help="The k of pass@k [default: 1, and the number of --samples].",
)
@sampling_options
@sandbox_options
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the results. An evaluation that was begun there with the same settings goes on "
    "[default: a new one in evaluations/, named by model and time].",
)
@click.option(
    "--confidence",
    is_flag=True,
    help="Record how sure the model is of each position at the first steps, for `couplet analyze`; torch only. "
    "May be given later, with the folder of an evaluation that is complete.",
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
@click.option(
    "--workers",
    default=0,
    type=click.IntRange(min=0),
    help="Complete tasks with so many Ray actors side by side, each with the model [default: 0, which is this "
    "process alone].",
)
def evaluate(
    model: str,
    tasks: tuple[str, ...],
    engine: Any,
    format_name: str | None,
    limit: int | None,
    ks: tuple[int, ...],
    output: Path | None,
    confidence: bool,
    as_json: bool,
    workers: int,
    **options: Any,
) -> None:
    """Evaluate a model on task files: pass@k, decoding order and cost.

    MODEL is a folder, a Hub name or builtin:quickstart: a masked-diffusion model, which torch or vllm denoises,
    or a causal one, which vllm or (slowly) transformers runs from left to right. Its config.json says which of
    the two it is. Prompts, sandbox and tables are the same for both.

    TASKS are files of tasks, files of data sets on the Hub (hub:OWNER/NAME/FILE, or hub:OWNER/NAME if it has one
    file only), or builtin:quickstart, the quick start's held-out tasks. FORMAT=FILE reads a file in a format such
    as bigcodebench-instruct or cruxeval-i.

    --template, --temperature, --denoising-steps and --seeds take several values, as 0.2,0.8. Every task is
    evaluated in each combination of them.

    The output folder gets settings.json, samples.jsonl with every completion, and the tables as summary.json,
    summary.md and summary.csv. If an evaluation was stopped, the same command with its folder as --output goes on.

    Exit code 0: everything was evaluated. 1: the sandbox failed on some samples, which are not counted. 2: the
    input is wrong.
    """
    with StopRequest(_say_stopping) as stop, ExitStack() as opened:
        with _starting(stop):
            subject = Subject.read(model, engine)
            options = apply_preset(options.pop("preset"), options, subject.causal)
            scoring = reward_config(
                tests="all_or_nothing", **{name: options.pop(name) for name in SANDBOX_PARAMETERS}
            )
            settings = evaluation_settings(subject, options)
            ks = _checked(ks, settings.samples)
            if confidence:
                check_confidence(settings)
            notes = _advice(settings)
            benchmarks = load_benchmarks(tasks, format_name, limit, scoring, notes)
            asked = _ask_all(subject, settings, benchmarks)
            check_answer_prefix(options, asked.values())
            longest = subject.check(asked.values(), settings.cells[0].sampler)
            for note in notes:
                click.echo(f"note: {note}", err=True)
            folder = EvaluationFolder(output or _default_folder(model))
            facts = evaluation_facts(settings, scoring, benchmarks, asked.values())
            folder.check(facts)
            pool = opened.enter_context(ScoringPool(scoring))
            completer = opened.enter_context(_completer(subject, settings, longest, workers, stop.check))
        with folder.begun(facts):
            complete = False
            families = {one.name: one.family for one in benchmarks}
            try:
                harness = Harness(settings.samples, completer, pool, folder, stop.check)
                total = settings.samples * len(settings.cells) * sum(len(one.tasks) for one in benchmarks)
                with shown_progress(total) as watcher:
                    for benchmark, cell in product(benchmarks, settings.cells):
                        harness.run(asked[benchmark.name, cell.template], cell, watcher)
                folder.finish()
                complete = True
                if confidence:
                    record_confidence(folder, settings, asked, stop.check)
            finally:
                folder.put_in_order([(one.name, cell.name) for one, cell in product(benchmarks, settings.cells)])
                results = Results.read(folder, settings, families, ks, complete)
                report(folder, settings, results)
    if as_json:
        click.echo(json.dumps(results.timed_record()))
    check_all_scored(folder)


def _completer(
    subject: Subject, settings: EvaluationSettings, longest: int, workers: int, check: Callable[[], None]
) -> AbstractContextManager[Completer]:
    """Load the model into this process, or with ``workers`` above 0 into so many actors."""
    if not workers:
        return closing(subject.load(settings, longest, Loading(check=check)))
    click.echo(f"starting Ray and {workers} workers", err=True)
    # Importing Ray takes seconds.
    from orchestrator.commands.evaluate.workers import running_workers

    return running_workers(settings, longest, workers, _say, check)


def _say(line: str) -> None:
    click.echo(f"note: {line}", err=True)


def _say_stopping() -> None:
    os.write(2, b"stopping\n")  # at once: a signal may come while the buffer of standard error is written


@contextmanager
def _starting(stop: StopRequest) -> Iterator[None]:
    """Answer a request to stop that came during the start, which may have failed of it; name options in errors."""
    try:
        try:
            yield
        except (UserError, RunFailedError) as error:
            stop.check()
            if isinstance(error, RunFailedError):
                raise
            raise UserError(in_options(str(error))) from error
        stop.install()  # once more: what runs the model may have taken the signals over
        stop.check()
    except Interrupted:
        click.echo("nothing was done", err=True)
        raise


def _checked(ks: Sequence[int], samples: int) -> tuple[int, ...]:
    """Return the k of pass@k, ascending. Raises UserError for one that there are too few samples for."""
    for k in ks:
        if k > samples:
            raise UserError(
                f"--k {k}: takes at least as many completions of each task; give --samples {k} or more"
            )
    return tuple(sorted({*ks} or {1, samples}))


def _advice(settings: EvaluationSettings) -> list[str]:
    notes = []
    if settings.engine == "vllm":
        notes.append("starting vllm takes a while")
    greedy = any(cell.sampler.temperature == 0 for cell in settings.cells)
    if greedy and (settings.samples > 1 or len({cell.seed for cell in settings.cells}) > 1):
        notes.append("at temperature 0 all samples of a task are the same, whatever the seed; give --temperature")
    return notes


def _default_folder(model: str) -> Path:
    name = re.sub(r"[^\w.-]+", "-", Path(model).name)
    return Path("evaluations") / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _ask_all(
    subject: Subject, settings: EvaluationSettings, benchmarks: Sequence[Benchmark]
) -> dict[tuple[str, str], AskedBenchmark]:
    """Put every benchmark as every template does; by the names of both."""
    encoders = {template.name: subject.encoder(template.prompts) for template in settings.templates}
    return {
        (benchmark.name, template.name): ask(benchmark, template, encoders[template.name])
        for benchmark, template in product(benchmarks, settings.templates)
    }
