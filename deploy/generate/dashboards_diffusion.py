"""The Diffusion dashboard: how the model writes."""

from __future__ import annotations

from deploy.generate.dashboards_panels import Board, Panel, bars, graph, heat
from deploy.generate.dashboards_run import STEP
from deploy.generate.queries import Query, Scope

_CHOSEN = 'run=~"$run"'
_RUN = Scope(_CHOSEN, by=("run",))
_ORDER = "Mean over the chosen runs. Left to right is a slope from 0 to 100 %; no order at all is 50 % all over."


def board() -> Board:
    return Board(
        "Diffusion",
        "In which order, in how many forward passes and how surely the model denoises its completions.",
        {"Decoding order": _order(), "Denoising": _denoising()},
    )


def _of(key: str, legend: str = "{{run}}") -> Query:
    return Query(_RUN.newest(key), legend)


def _order() -> list[Panel]:
    tenths = Query(Scope(_CHOSEN, by=("tenth",)).mean("diffusion/order/{tenth}"), "tenth {{tenth}}")
    return [
        graph(
            "AR-ness at 1",
            _of("diffusion/ar_ness_local", "{{run}} local"),
            _of("diffusion/ar_ness_global", "{{run}} global"),
            unit="percentunit",
            width=12,
            step=STEP,
            note="100 % is left to right: each token comes right after the one before it (local), or is the "
            "leftmost of those still masked (global).",
        ),
        graph(
            "AR-ness at 4",
            _of("diffusion/ar_ness_local_at_4", "{{run}} local"),
            _of("diffusion/ar_ness_global_at_4", "{{run}} global"),
            unit="percentunit",
            width=12,
        ),
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
    ]
