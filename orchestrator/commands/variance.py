"""``couplet analyze variance``: bias and variance of the likelihood estimators."""

from __future__ import annotations

import json
from dataclasses import asdict
from math import floor, log10

import click
import torch
from rich.console import Console, Group
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from common.models.families import ModelError
from common.models.loading import load_model
from evaluation.variance import Analysis, Figure
from evaluation.variance_exact import analyze_exactly, tiny_case
from evaluation.variance_sampled import STAGES, analyze_by_sampling, reference_texts
from learner.warm_start.synthetic import generate
from orchestrator.commands.numbers import SEED

_LEVELS = (("token", "of a token, mean over tokens"), ("sequence", "of their sum over the text"))
_LEGEND = (
    "Means and biases are in nats, variances in nats squared. views is the number of sequences in a forward "
    "pass. bias is the mean minus the evidence lower bound. coupled and decoupled have a full mask among "
    "their views; it is not drawn, lowers their variance and makes most of their bias. relative is the "
    "variance at the same number of views: variance times views, divided by that of coupled with as many "
    "pairs (3 nodes count as 1 pair, 5 as 2). elbo with nodes is elbo_quadrature. Weights add up to 1 here; "
    "with weighting: paper, those of coupled and decoupled add up to 1.5 (1 pair) and 1.67 (2 pairs)."
)


@click.command()
@click.option(
    "--model", "path", metavar="PATH", help="A folder, a Hub name or builtin:quickstart [default: tiny]."
)
@click.option("--tasks", type=click.IntRange(min=1), help="With --model: texts [default: 4].")
@click.option("--draws", type=click.IntRange(min=2), help="With --model: mask draws for each text [default: 64].")
@click.option(
    "--completion", type=click.IntRange(min=1), help="With --model: tokens of a completion [default: 28]."
)
@click.option("--device", type=click.Choice(("auto", "cpu", "cuda")), default="auto", show_default=True)
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Keys the tiny model or the tasks, and the masks."
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def variance(
    path: str | None,
    tasks: int | None,
    draws: int | None,
    completion: int | None,
    device: str,
    seed: int,
    as_json: bool,
) -> None:
    """Measure how far likelihood estimates scatter.

    Shows bias, variance and cost of estimates that depend on the masks they draw. Exactly, over every mask of a
    text of four tokens on a tiny random model; or, with --model, by Monte Carlo on the right solutions of
    synthetic tasks: about a minute for builtin:quickstart on two cores.
    """
    if path is None:
        if tasks or draws or completion:
            raise click.UsageError(
                "--tasks, --draws and --completion go with --model; without it all is enumerated"
            )
        found = analyze_exactly(*tiny_case(seed))
        heading = f"every mask of a text of 4 tokens, on a random model of 5 words (seed {seed})"
        settings: dict[str, object] = {"model": "tiny", "seed": seed}
    else:
        tasks, draws, completion = tasks or 4, draws or 64, completion or 28
        found = _sampled(path, tasks, draws, completion, device, seed)
        heading = (
            f"{path}, right solutions of {tasks} tasks in completions of {completion} tokens, {draws} mask draws "
            f"for each (seed {seed}); ± is a standard error"
        )
        settings = {"model": path, "seed": seed, "tasks": tasks, "draws": draws, "completion": completion}
    Console().print(variance_view(heading, found))
    if as_json:
        click.echo(json.dumps({"analyze": "variance", **settings, **asdict(found)}))


def _sampled(path: str, tasks: int, draws: int, completion: int, device: str, seed: int) -> Analysis:
    if device == "cuda" and not torch.cuda.is_available():
        raise click.BadParameter("torch sees no GPU.", param_hint="'--device'")
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    try:
        model = load_model(path, "cuda" if on_gpu else "cpu").eval()
        solved = [
            (drawn.task.prompt, drawn.reference) for drawn in generate(seed, train=0, held_out=tasks).held_out
        ]
        texts = reference_texts(path, model, solved, completion)
    except ModelError as error:
        raise click.BadParameter(str(error), param_hint="'--model'") from error
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=STAGES * len(texts))
        return analyze_by_sampling(
            model, texts, draws, seed, lambda stage: bar.update(task, advance=1, description=stage)
        )


def variance_view(heading: str, found: Analysis) -> Group:
    """The table by level, and what its columns mean."""
    parts: list[Text | Table] = [Text(heading), Text()]
    for level, meaning in _LEVELS:
        title = f"log-likelihood {meaning}"
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
        table.add_column("estimator", no_wrap=True)
        for name in ("views", "mean", "bias", "variance", "relative"):
            table.add_column(name, justify="right", overflow="fold")
        for row in found.rows:
            figures = getattr(row, level)
            name = ", ".join(filter(None, (row.name.removesuffix("_quadrature"), row.setting)))
            cells = (figures.mean, figures.bias, figures.variance, figures.relative)
            table.add_row(name, str(row.cost), *map(show_figure, cells))
        bound, halves = show_figure(found.elbo[level]), show_figure(found.pair_covariance[level])
        parts += [
            table,
            Text(f"evidence lower bound {bound}; covariance of a coupled pair's halves {halves}"),
            Text(),
        ]
    return Group(*parts, Text(_LEGEND))


def show_figure(figure: Figure) -> str:
    """Write four decimals, or as many as leave a standard error two significant digits."""
    if not figure.error:
        return f"{round(figure.value, 4) + 0.0:.4f}"  # rounding leaves negative zeros
    decimals = max(0, 1 - floor(log10(figure.error)))
    return f"{figure.value:.{decimals}f}±{figure.error:.{decimals}f}"
