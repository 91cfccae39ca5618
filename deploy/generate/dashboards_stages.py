"""The Stages dashboard: adaptation, mid-training and supervised fine-tuning."""

from __future__ import annotations

from deploy.generate.dashboards_panels import NAMESPACE, Board, Choice, Panel, bars, figure, graph, heat
from deploy.generate.dashboards_run import STEP
from deploy.generate.queries import CHOSEN, WHOSE, Query, Scope

_RUN = Scope(CHOSEN, by=WHOSE)
_TENTHS = "Mean over the chosen runs. Tenth 9 has nearly all tokens masked, and tenth 0 hardly any."


def board() -> Board:
    return Board(
        "Stages",
        "Loss, data and speed of the supervised stages before reinforcement learning.",
        {"": _at_a_glance(), "Loss": _loss(), "Training": _training(), "Speed": _speed()},
        (NAMESPACE, Choice("run", "Run", "couplet_denoising_loss")),
    )


def _of(key: str, legend: str = "{{run}}", *by: str) -> Query:
    return Query(_RUN.newest(key, *by), legend)


def _at_a_glance() -> list[Panel]:
    return [
        figure("Loss", _of("denoising/loss")),
        figure("Held-out loss", _of("held_out/loss"), note="In nats a masked token, mean over the ratios."),
        figure("Tokens", _of("data/tokens"), "short", note="So far."),
        figure("Epochs", _of("data/epochs"), note="Passes over the data so far."),
        figure("Tokens a second", _of("perf/tokens_per_second")),
        figure("Model FLOP utilization", _of("perf/mfu"), "percentunit", note="Where the GPU's peak is known."),
    ]


def _loss() -> list[Panel]:
    tenths = Query(Scope(CHOSEN, by=("tenth",)).mean("denoising/loss_at_t/{tenth}"), "tenth {{tenth}}")
    eighths = Query(Scope(CHOSEN, by=("eighth",)).mean("denoising/loss_at_position/{eighth}"), "eighth {{eighth}}")
    at_ratio = _of("held_out/loss_at_t/{ratio}", "{{run}} {{ratio}}", "ratio")
    note = "Of a masked token in nats, always over the same documents with the same masks."
    return [
        graph("Training loss", _of("denoising/loss"), step=STEP, width=12, note="Weighed by 1/t."),
        graph("Held-out loss by ratio", at_ratio, step=STEP, width=12, note=note),
        heat("Loss by ratio of masked tokens", tenths, "none", "tenth of the ratios", note=_TENTHS),
        bars("Loss by ratio, now", tenths, "none", note=_TENTHS),
        heat("Loss by position", eighths, "none", "eighth of the document", note="Mean over the chosen runs."),
        bars("Loss by position, now", eighths, "none", note="Mean over the chosen runs."),
    ]


def _training() -> list[Panel]:
    return [
        graph("Tokens masked", _of("denoising/masked_share"), unit="percentunit"),
        graph(
            "Positions that attention sees", _of("denoising/visible_share"), unit="percentunit", note="Of adapt."
        ),
        graph("Tokens learned from", _of("data/targets"), note="Of each step."),
    ]


def _speed() -> list[Panel]:
    parts = [
        _of(f"seconds/{part}", f"{{{{run}}}} {part}") for part in ("forward_backward", "optimizer", "checkpoint")
    ]
    return [
        graph("Tokens per second", _of("perf/tokens_per_second"), width=12),
        graph("Inside a step", *parts, unit="s", width=12),
    ]
