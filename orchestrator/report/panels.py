"""Which charts a report has. What a metric means, and its unit, comes from the registry of metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from common.metrics.registry import find
from common.metrics.step import QUANTILES, TENTHS, TOTAL
from orchestrator.report.charts import Series, Span, heat_map, line_chart, smooth, stacked_bars
from orchestrator.report.recorded_run import RecordedRun
from orchestrator.report.verdicts import interval

_FEWEST_TO_SMOOTH = 10
_LOW, *_, _HIGH = sorted(QUANTILES, key=lambda name: QUANTILES[name])
BAND = f"from the {QUANTILES[_LOW]:.0%} to the {QUANTILES[_HIGH]:.0%} quantile of the samples"
_WIDTH, _HEIGHT = 1140, 300


@dataclass(frozen=True)
class Panel:
    """A chart to be drawn: metrics that belong together, by their keys in metrics.jsonl.

    ``exact``: without a moving mean. ``always``: drawn even if no value ever changes.
    """

    title: str
    keys: tuple[str, ...]
    exact: bool = False
    always: bool = False


@dataclass(frozen=True)
class Chart:
    """A panel that was drawn; ``svg`` is empty if there was nothing to draw.

    ``legend``: (colour, key, meaning) of each series.
    """

    title: str
    legend: tuple[tuple[int, str, str], ...]
    svg: Markup
    wide: bool = False


LEARNING = (
    Panel("Reward spread", ("reward/std",)),
    Panel("Steps without a rise of the reward", ("reward/plateau",)),
    Panel("Tests passed", ("reward/pass_rate",)),
    Panel("Groups that teach nothing", ("groups/zero_variance",)),
    Panel("Response length", ("response/length_mean",)),
    Panel("Truncated responses", ("response/truncated",)),
    Panel("Excluded samples", ("reward/excluded",)),
)
DIFFUSION = (
    Panel("Local AR-ness", ("diffusion/ar_ness_local", "diffusion/ar_ness_local_at_4")),
    Panel("Global AR-ness", ("diffusion/ar_ness_global", "diffusion/ar_ness_global_at_4")),
    Panel(
        "Local AR-ness of all commits",
        ("diffusion/executed_ar_ness_local", "diffusion/executed_ar_ness_local_at_4"),
    ),
    Panel(
        "Global AR-ness of all commits",
        ("diffusion/executed_ar_ness_global", "diffusion/executed_ar_ness_global_at_4"),
    ),
    Panel("Denoising steps", ("diffusion/steps",)),
    Panel("Tokens per forward pass", ("diffusion/tokens_per_forward",)),
    Panel("Surprisal", ("diffusion/surprisal",)),
    Panel("Estimator variance", ("policy/estimator_variance",)),
    Panel("Approximate sampling", ("diffusion/approximate",)),
    Panel("Approximate against exact", ("approximation/log_ratio", "approximation/kl")),
    Panel("Tokens measured against exact", ("approximation/tokens",)),
)
POLICY = (
    Panel("KL to the reference", ("policy/kl",)),
    Panel("Clipped ratios", ("policy/clip_fraction", "policy/clip_low_fraction", "policy/clip_high_fraction")),
    Panel("Likelihood ratio", ("policy/ratio_mean",)),
    Panel("Entropy", ("policy/entropy",)),
    Panel("Policy loss", ("policy/loss",)),
    Panel("Mismatch of rollouts", ("mismatch/mean", "mismatch/max")),
    Panel("KL of rollouts to the learner", ("mismatch/kl",)),
    Panel("Effective sample size of rollouts", ("mismatch/effective_share",)),
    Panel("Off-policy weight", ("policy/importance_mean",)),
    Panel("Preference accuracy", ("policy/preference_accuracy",)),
    Panel("Preference margin", ("policy/preference_margin",)),
    Panel("Gradient norm", ("optim/grad_norm",)),
    Panel("Learning rate", ("optim/learning_rate",), exact=True),
    Panel("Tokens trained on", ("policy/valid_tokens",)),
)
SYSTEM = (
    Panel("Throughput", ("perf/samples_per_second",)),
    Panel("Staleness", ("staleness/mean", "staleness/max"), always=True),
    Panel("Groups waiting beyond a step's own", ("perf/spare_groups",), exact=True),
    Panel("Seconds of a step", ("seconds/step",)),
    Panel("From new weights to the first step under them", ("seconds/weights_delay",)),
    Panel("Work of a step's groups", ("seconds/rollout", "seconds/reward")),
    Panel("Inside the update", ("seconds/log_probs", "seconds/backward", "seconds/optimizer")),
    Panel("Groups of a step", ("groups/trained",), exact=True),
    Panel("Groups lost", ("ledger/filtered", "ledger/dropped"), exact=True),
    Panel("Groups so far", ("ledger/admitted", "ledger/trained"), exact=True),
    Panel("Groups in flight", ("ledger/in_flight",)),
    Panel("Restarts", ("restarts",), exact=True),
)
#: The parts of a learner step's wall time.
TIME = ("seconds/wait", "seconds/update", "seconds/weights", "seconds/checkpoint", "seconds/switch")


def meaning(key: str) -> str:
    """Return what the registry of metrics says of a metric, with its unit."""
    metric, labels = find(key)
    unit = f" ({metric.unit})" if metric.unit and metric.unit not in metric.help.lower() else ""
    text = metric.help.partition(":")[0] if labels else metric.help  # the rest lists the labels that there are
    return f"{text}{unit}"


def draw(run: RecordedRun, panels: Iterable[Panel]) -> list[Chart]:
    """Draw the panels of which the run has data that changes; :func:`constants` has the others."""
    drawn = (draw_panel(run, panel) for panel in panels if panel.always or not _is_constant(run, panel))
    return [chart for chart in drawn if chart.svg]


def draw_panel(run: RecordedRun, panel: Panel) -> Chart:
    """Draw one panel."""
    recorded = [(i, key) for i, key in enumerate(panel.keys, start=1) if run.points(key)]
    series = [s for i, key in recorded for s in smoothed(run, key, i, exact=panel.exact)]
    legend = tuple((i, key, meaning(key)) for i, key in recorded)
    return Chart(panel.title, legend, line_chart(series, title=panel.title))


def constants(run: RecordedRun, panels: Iterable[Panel]) -> list[tuple[str, float, str]]:
    """Return (key, value, meaning) of the metrics of panels in which nothing ever changed."""
    flat = (panel for panel in panels if not panel.always and _is_constant(run, panel))
    return [(key, run.points(key)[0][1], meaning(key)) for panel in flat for key in panel.keys if run.points(key)]


def _is_constant(run: RecordedRun, panel: Panel) -> bool:
    series = [run.points(key) for key in panel.keys]
    return all(len({y for _, y in points}) <= 1 for points in series) and max(map(len, series)) > 1


def reward_panel(run: RecordedRun) -> Chart:
    """Draw the mean reward, with its quantiles as a band where the run recorded them."""
    series = smoothed(run, "reward/mean", 1, _quantiles(run, TOTAL))
    legend = ((1, "reward/mean", _with_band(meaning("reward/mean"), series)),)
    return Chart("Reward", legend, line_chart(series, title="Reward", width=_WIDTH, height=_HEIGHT), wide=True)


def component_panels(run: RecordedRun) -> list[Chart]:
    """Draw one chart for each component of the reward that the run recorded, as their scales differ."""
    drawn = []
    for component in components(run):
        key = f"reward/{component}"
        series = smoothed(run, key, 2, _quantiles(run, component))
        legend = ((2, key, _with_band(meaning(key), series)),)
        drawn.append(Chart(f"Reward: {component}", legend, line_chart(series, title=f"Reward: {component}")))
    return drawn


def components(run: RecordedRun) -> list[str]:
    """Return the names of the reward's components in the run's metrics; tests and format first."""
    found = set()
    for key in {key for record in run.metrics for key in record}:
        try:
            metric, labels = find(key)
        except KeyError:
            continue
        if metric.labels == ("component",):
            found.add(labels["component"])
    known = [name for name in ("tests", "format") if name in found]
    return known + sorted(found.difference(known))


def pass_rate_panel(run: RecordedRun) -> Chart:
    """Draw the held-out pass rate with its interval, and the share of training samples that pass."""
    bars = []
    for record in run.evaluations:
        tasks = record.get("tasks")
        low, high = interval(record["pass_rate"], float(tasks) if isinstance(tasks, int | float) else 1.0)
        bars.append((float(record["step"]), low, high))
    held_out = [(float(r["step"]), float(r["pass_rate"])) for r in run.evaluations]
    series = smoothed(run, "reward/solved", 2)
    legend = [(2, "reward/solved", meaning("reward/solved"))] if series else []
    if held_out:
        series.append(Series("pass_rate", held_out, 1, "marks", bars=bars))
        text = f"{meaning('evaluation/pass_rate')}, with 95 % interval"
        legend.insert(0, (1, "evaluation/pass_rate", text))
    svg = line_chart(series, title="Pass rate", y_range=(0.0, 1.0), width=_WIDTH, height=_HEIGHT)
    return Chart("Pass rate", tuple(legend), svg, wide=True)


def order_panel(run: RecordedRun) -> Chart:
    """Draw at which point of decoding each tenth of the text is committed, over learner steps."""
    names = ["start", *(f"{10 * i} %" for i in range(1, TENTHS - 1)), "end"]
    rows = [Series(name, run.points(f"diffusion/order/{i}")) for i, name in enumerate(names)]
    return Chart("Decoding order", (), heat_map(rows, title="Decoding order"), wide=True)


def order_meaning() -> str:
    """Return what the registry of metrics says of the decoding order."""
    return meaning("diffusion/order/0")


def time_panel(run: RecordedRun, keys: Sequence[str] = TIME) -> Chart:
    """Draw the parts of each learner step's wall time on top of each other."""
    parts = [Series(_tail(key), run.points(key), i) for i, key in enumerate(keys, start=1)]
    legend = tuple((p.colour, key, meaning(key)) for p, key in zip(parts, keys, strict=True) if p.points)
    title = "Where the time goes"
    svg = stacked_bars([p for p in parts if p.points], title=title, unit="s", width=_WIDTH, height=260)
    return Chart(title, legend, svg, wide=True)


def smoothed(
    run: RecordedRun, key: str, colour: int, band: Sequence[Span] = (), *, exact: bool = False
) -> list[Series]:
    """Return a metric's line; unless ``exact``, that of many points is a moving mean over its values."""
    points, name = run.points(key), _tail(key)
    if not points:
        return []
    if exact or window(len(points)) == 1:
        return [Series(name, points, colour, "marks" if len(points) == 1 else "line", band)]
    mean = Series(f"{name}, smoothed", smooth(points, window(len(points))), colour)
    return [Series(name, points, colour, "faint", band), mean]


def window(points: int) -> int:
    """Return how many points a moving mean takes; 1 where there are so few that they are drawn as they are."""
    return max(5, points // 12) | 1 if points >= _FEWEST_TO_SMOOTH else 1


def _quantiles(run: RecordedRun, component: str) -> list[Span]:
    low = dict(run.points(f"reward/{component}/{_LOW}"))
    high = dict(run.points(f"reward/{component}/{_HIGH}"))
    return [(x, low[x], high[x]) for x in sorted(low.keys() & high.keys())]


def _with_band(text: str, series: list[Series]) -> str:
    return f"{text}; shaded {BAND}" if any(s.band for s in series) else text


def _tail(key: str) -> str:
    return key.rpartition("/")[2]
