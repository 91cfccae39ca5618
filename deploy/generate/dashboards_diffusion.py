"""The Diffusion dashboard: how the model writes."""

from __future__ import annotations

from deploy.generate.dashboards_panels import Board, Panel, bars, graph, heat
from deploy.generate.dashboards_run import STEP
from deploy.generate.queries import CHOSEN, WHOSE, Query, Scope

_RUN = Scope(CHOSEN, by=WHOSE)
_ORDER = "Mean over the chosen runs. Left to right is a slope from 0 to 100 %; no order at all is 50 % all over."

_LEFT_TO_RIGHT = (
    "100 % is left to right: each token comes right after the one before it (local), or is the leftmost of those "
    "still masked (global); at 4, after the four before it in any order, or among the four leftmost."
)
#: Prefix of the metrics' keys, end of the title, and what the order is of.
_ORDERS = (
    ("", "of the text", "Of the positions up to the end of the text."),
    ("executed_", "of all commits", "Of every position that was committed, those after the end of the text too."),
)


def board() -> Board:
    return Board(
        "Diffusion",
        "In which order, in how many forward passes and how surely the model denoises its completions.",
        {"Decoding order": _order(), "Denoising": _denoising()},
    )


def _of(key: str, legend: str = "{{run}}") -> Query:
    return Query(_RUN.newest(key), legend)


def _ar_ness(of: str, title: str, note: str, at: int) -> Panel:
    suffix = "" if at == 1 else f"_at_{at}"
    return graph(
        f"AR-ness at {at} {title}",
        _of(f"diffusion/{of}ar_ness_local{suffix}", "{{run}} local"),
        _of(f"diffusion/{of}ar_ness_global{suffix}", "{{run}} global"),
        unit="percentunit",
        width=12,
        step=STEP,
        note=f"{note} {_LEFT_TO_RIGHT}",
    )


def _order() -> list[Panel]:
    tenths = Query(Scope(CHOSEN, by=("tenth",)).mean("diffusion/order/{tenth}"), "tenth {{tenth}}")
    return [
        *(_ar_ness(of, title, note, at) for of, title, note in _ORDERS for at in (1, 4)),
        heat("When each tenth of the text is written", tenths, "percentunit", "tenth of the text", note=_ORDER),
        bars("When each tenth is written, now", tenths, "percentunit", note=_ORDER),
    ]


def _denoising() -> list[Panel]:
    return [
        graph("Forward passes of a completion", _of("diffusion/steps"), step=STEP),
        graph("Tokens per forward pass", _of("diffusion/tokens_per_forward")),
        graph("Surprisal in nats", _of("diffusion/surprisal"), note="How sure the model was of what it drew."),
        graph(
            "Variance of the likelihood estimate",
            _of("policy/estimator_variance"),
            width=12,
            note="Over masks; coupled masks are there to keep it low.",
        ),
        graph("Groups by an approximate sampler", _of("diffusion/approximate"), unit="percentunit", width=12),
        graph(
            "Approximate against exact, nats a token",
            _of("approximation/log_ratio", "{{run}} log ratio"),
            _of("approximation/kl", "{{run}} KL"),
            width=12,
            note="Only with rollout.approximate_measured_share.",
        ),
        graph("Tokens measured against the exact sampler", _of("approximation/tokens"), width=12),
    ]
