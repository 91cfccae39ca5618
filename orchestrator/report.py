"""The report of a run: one HTML file that needs nothing but itself.

Everything is read from the run's folder, which may be that of an interrupted run. Completions are hostile
text: the template escapes all of it, and the page's own security policy runs no script but ours.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.charts import Point, Series, line_chart, short, smooth, stacked_bars

_TEMPLATES = Path(__file__).parent / "templates"
_SAMPLED_STEPS, _SAMPLES_PER_STEP, _LONGEST_TEXT = 60, 4, 4000
_PASSWORD = re.compile(r"(://[^\s/@]*:)[^\s@]+@")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# Title, explanation, and the metrics that are drawn: (key, label).
_CHARTS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("KL to the reference", "per token or completion", (("policy/kl", "KL"),)),
    (
        "Clipped ratios",
        "share that left the clip range on the side that counts",
        (("policy/clip_low_fraction", "below"), ("policy/clip_high_fraction", "above")),
    ),
    ("Probability ratio", "new over old policy, mean", (("policy/ratio_mean", "ratio"),)),
    ("Entropy", "nats, of the rows that are scored", (("policy/entropy", "entropy"),)),
    (
        "Estimator variance",
        "of a token's likelihood, over masks",
        (("policy/estimator_variance", "variance"),),
    ),
    ("Policy loss", "", (("policy/loss", "loss"),)),
    ("Gradient norm", "before clipping", (("optim/grad_norm", "norm"),)),
    ("Learning rate", "", (("optim/learning_rate", "rate"),)),
    (
        "Groups",
        "a group whose samples all have one reward teaches nothing",
        (("groups/trained", "trained"), ("groups/zero_variance", "zero variance")),
    ),
    ("Reward spread", "standard deviation of the reward", (("reward/std", "deviation"),)),
    (
        "Staleness",
        "weight versions between rollout and training",
        (("staleness/mean", "mean"), ("staleness/max", "largest")),
    ),
    (
        "Local AR-ness",
        "share of tokens decoded right after their k left neighbours",
        (("diffusion/ar_ness_local", "k = 1"), ("diffusion/ar_ness_local_at_4", "k = 4")),
    ),
    (
        "Global AR-ness",
        "share of tokens among the k left-most masked ones",
        (("diffusion/ar_ness_global", "k = 1"), ("diffusion/ar_ness_global_at_4", "k = 4")),
    ),
    ("Denoising steps", "forward passes per completion", (("diffusion/steps", "steps"),)),
    ("Tokens per forward pass", "text tokens over forward passes", (("diffusion/tokens_per_forward", "tokens"),)),
    (
        "Surprisal",
        "nats per token, under the model at temperature 1",
        (("diffusion/surprisal", "surprisal"),),
    ),
    ("Response length", "tokens before the end of text", (("response/length_mean", "tokens"),)),
    ("Throughput", "samples per second", (("perf/samples_per_second", "samples/s"),)),
)
#: Parts of a learner step; waiting is for rollouts and their rewards.
_SECONDS = ("wait", "update", "weights", "checkpoint")


def write_report(run_folder: Path) -> Path:
    """Write ``report.html`` into the folder of a run, finished or not, and return its path."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    script, style = ((_TEMPLATES / name).read_text() for name in ("report.js", "report.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template("report.html").render(
        _view(run_folder), script=Markup(script), style=Markup(style), script_digest=digest, short=short
    )
    path, draft = run_folder / "report.html", run_folder / f".report.{os.getpid()}.html"
    draft.write_text(page, encoding="utf-8", errors="replace")
    draft.replace(path)
    return path


def clean(text: object) -> str:
    """``text`` cut to a sane length, with characters that steer terminals or reorder lines made visible."""
    whole = str(text)
    kept = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", whole[:_LONGEST_TEXT])
    return kept if len(whole) <= _LONGEST_TEXT else f"{kept}\n# … {len(whole) - _LONGEST_TEXT} more characters"


def program(record: Mapping[str, Any]) -> str:
    """The program of an evaluation or sample record, up to the end of the code.

    A chat answer is its fenced block. A completion that continues a function ends where the function does;
    what the model wrote after it is counted in a comment rather than shown.
    """
    prompt, completion = str(record.get("prompt", "")), str(record.get("completion", ""))
    fenced = re.search(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", completion, re.DOTALL)
    if fenced:
        return clean(fenced.group(1).rstrip())
    if not prompt.rstrip().endswith(":"):
        return clean((prompt + completion).strip("\n"))
    lines = completion.rstrip().split("\n")
    end = next((i for i, line in enumerate(lines) if i and line[:1].strip() and line[0] != "#"), len(lines))
    shown = (prompt + "\n".join(lines[:end])).rstrip()
    rest = len(lines) - end
    return clean(shown + (f"\n# … {rest} more line{'s' * (rest > 1)}" if rest else ""))


def changed(
    before: Mapping[str, Any], after: Mapping[str, Any], *, passes: bool
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Programs (before, after) of tasks whose verdict became ``passes``; families take turns, by task id."""
    old, new = _by_task(before), _by_task(after)
    families: dict[str, list[str]] = {}
    for task in sorted(old.keys() & new.keys()):
        if bool(old[task].get("passed")) is not passes and bool(new[task].get("passed")) is passes:
            families.setdefault(str(old[task].get("family", "")), []).append(task)
    turns = sorted((turn, name, t) for name, tasks in families.items() for turn, t in enumerate(tasks))
    return [(old[task], new[task]) for _, _, task in turns]


def families(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, int, float, float | None]]:
    """Name, tasks, and the share passed before and after, of every family with tasks; largest first."""
    old, new = before.get("by_family") or {}, after.get("by_family") or {}
    rows = []
    for name, (passed, total) in old.items():
        later = new.get(name)
        share = later[0] / later[1] if later and later[1] else None
        if total:
            rows.append((clean(name) or "(no family)", int(total), passed / total, share))
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def interval(share: float, total: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of ``total`` tasks."""
    z, n = 1.96, max(total, 1.0)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def _view(folder: Path) -> dict[str, Any]:
    steps = {r["step"]: r for r in _read_lines(folder / "metrics.jsonl") if _is_number(r.get("step"))}
    metrics = [steps[step] for step in sorted(steps)]  # a resumed run repeats steps: the last record counts
    evaluations = [
        r
        for r in _read_lines(folder / "evaluations.jsonl")
        if _is_number(r.get("step")) and _is_number(r.get("pass_rate"))
    ]
    before = evaluations[0] if evaluations else {}
    after = evaluations[-1] if len(evaluations) > 1 else {}
    run, summary = _read(folder / "run.json"), _read(folder / "summary.json")
    config = folder / "config.yaml"
    gained, lost = changed(before, after, passes=True), changed(before, after, passes=False)
    return {
        "name": clean(run.get("name") or folder.resolve().name),
        "run": run,
        "status": clean(summary.get("status") or "incomplete"),
        "summary": summary,
        "updates": len(metrics),
        "before": before,
        "after": after,
        "rewards": _ends(metrics, "reward/mean"),
        "gained": gained,
        "lost": lost,
        "chance": _chance(len(gained), len(lost)) if _complete(before) and _complete(after) else None,
        "families": families(before, after),
        "reward_chart": _chart(
            metrics,
            "Reward",
            (("reward/mean", "mean"), ("reward/tests", "tests"), ("reward/format", "format")),
            width=1140,
            height=300,
        ),
        "pass_chart": _pass_chart(metrics, evaluations),
        "charts": [(title, hint, *_chart(metrics, title, keys)) for title, hint, keys in _CHARTS],
        "time_chart": _time_chart(metrics),
        "samples": _samples(_read_lines(folder / "samples.jsonl")),
        "sample_limits": (_SAMPLED_STEPS, _SAMPLES_PER_STEP),
        "program": program,
        "clean": clean,
        "config": _PASSWORD.sub(r"\1***@", config.read_text(errors="replace")) if config.exists() else "",
    }


Chart = tuple[list[Series], Markup]


def _chart(
    metrics: Sequence[Mapping[str, Any]],
    title: str,
    keys: Iterable[tuple[str, str]],
    width: int = 560,
    height: int = 220,
) -> Chart:
    raw, lines = [], []
    for colour, (key, label) in enumerate(keys, start=1):
        points = _points(metrics, key)
        if len(points) < 10:
            lines.append(Series(label, points, colour, "marks" if len(points) == 1 else "line"))
            continue
        raw.append(Series(label, points, colour, "faint"))
        lines.append(Series(f"{label}, smoothed", smooth(points, max(5, len(points) // 12)), colour))
    lines = [s for s in lines if s.points]
    return lines, line_chart([*raw, *lines], title=title, width=width, height=height)


def _pass_chart(metrics: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]]) -> Chart:
    lines, _ = _chart(metrics, "", (("reward/solved", "training samples"),))
    lines = [Series(s.name, s.points, 2, s.style) for s in lines]
    spread = {float(r["step"]): interval(r["pass_rate"], float(r.get("tasks") or 1)) for r in evaluations}
    points = [(float(r["step"]), float(r["pass_rate"])) for r in evaluations]
    held_out = Series("held-out tasks, with 95 % interval", points, 1, "marks", spread)
    lines = [*lines, *([held_out] if points else [])]
    return lines, line_chart(lines, title="Pass rate", width=1140, height=300, y_range=(0.0, 1.0))


def _time_chart(metrics: Sequence[Mapping[str, Any]]) -> Chart:
    parts = [Series(name, _points(metrics, f"seconds/{name}"), i) for i, name in enumerate(_SECONDS, start=1)]
    parts = [part for part in parts if part.points]
    return parts, stacked_bars(parts, title="Where the time goes", unit="s", width=1140, height=260)


def _samples(records: Sequence[Mapping[str, Any]]) -> list[tuple[int, list[Mapping[str, Any]]]]:
    by_step: dict[int, list[Mapping[str, Any]]] = {}
    for record in records:
        if _is_number(record.get("step")):
            by_step.setdefault(int(record["step"]), []).append(record)
    steps = sorted(by_step)
    count = min(len(steps), _SAMPLED_STEPS)
    chosen = [steps[round(i * (len(steps) - 1) / max(count - 1, 1))] for i in range(count)]
    return [(step, by_step[step][:_SAMPLES_PER_STEP]) for step in chosen]


def _ends(metrics: Sequence[Mapping[str, Any]], key: str) -> tuple[float, float, int] | None:
    """Mean of the first and of the last fifth of a metric, and how many steps a fifth is."""
    values = [y for _, y in _points(metrics, key)]
    size = len(values) // 5
    return (sum(values[:size]) / size, sum(values[-size:]) / size, size) if size else None


def _points(metrics: Sequence[Mapping[str, Any]], key: str) -> list[Point]:
    return [(float(r["step"]), float(r[key])) for r in metrics if _is_number(r.get(key))]


def _by_task(evaluation: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    first: dict[str, Mapping[str, Any]] = {}
    for record in evaluation.get("programs") or []:
        first.setdefault(str(record.get("task_id")), record)
    return first


def _complete(evaluation: Mapping[str, Any]) -> bool:
    tasks = evaluation.get("tasks")
    return bool(tasks) and len(_by_task(evaluation)) == tasks


def _chance(gained: int, lost: int) -> float:
    """Two-sided sign test: how likely so uneven a split of the changed tasks is if nothing was learned."""
    changes, fewer = gained + lost, min(gained, lost)
    ways = sum(math.comb(changes, i) for i in range(fewer + 1))
    return min(1.0, float(2 * ways / 2**changes))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read(path: Path) -> dict[str, Any]:
    records = _parse(path.read_text(errors="replace")) if path.exists() else None
    return records or {}


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a jsonl file; a line that was torn when the run was killed is left out."""
    if not path.exists():
        return []
    parsed = map(_parse, path.read_text(errors="replace").split("\n"))
    return [record for record in parsed if record is not None]


def _parse(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
