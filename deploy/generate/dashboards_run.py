"""The Run dashboard: does it learn?"""

from __future__ import annotations

from deploy.generate.dashboards_panels import Board, Panel, against_step, figure, graph, label
from deploy.generate.queries import CHOSEN, WHOSE, Query, Scope

_RUN = Scope(CHOSEN, by=WHOSE)
_MISMATCH = "Measured every learner.mismatch_steps steps; the last value stays. Equal policies differ by rounding."
STEP = Query(_RUN.newest("run/step"), "{{run}} step")


def board() -> Board:
    return Board(
        "Run",
        "Rewards, policy and completions of training runs.",
        {"": _at_a_glance(), "Reward": _reward(), "Policy": _policy(), "Completions and groups": _groups()},
    )


def _of(key: str, legend: str = "{{run}}", *by: str, where: str = "") -> Query:
    return Query(_RUN.newest(key, *by, where=where), legend)


def _at_a_glance() -> list[Panel]:
    firing = f'count(ALERTS{{alertstate="firing",alertname=~"Couplet.*",{CHOSEN}}}) or vector(0)'
    left = f"({_RUN.newest('run/steps_planned')} - {_RUN.newest('run/step')}) * {_RUN.newest('seconds/step')}"
    since = f"time() - {_RUN.newest('run/step_end')}"
    progress = f"{_RUN.newest('run/step')} / {_RUN.newest('run/steps_planned')}"
    return [
        figure("Step", _of("run/step")),
        figure("Reward", _of("reward/mean")),
        figure("Tests passed", _of("reward/pass_rate"), "percentunit"),
        figure("Staleness", _of("staleness/mean")),
        figure("Samples a second", _of("perf/samples_per_second")),
        figure(
            "Alerts firing", Query(firing, "firing"), bad_from=1, note="Alerts of the chosen runs that fire now."
        ),
        label(
            "What runs",
            _of("run/info", "{{run}}: {{name}}, {{model}}, {{version}}", "name", "model", "version"),
            12,
        ),
        figure("Done", Query(progress, "{{run}}"), "percentunit"),
        figure("Time left", Query(left, "{{run}}"), "s", note="At the pace of the last step."),
        figure("Since the last step", Query(since, "{{run}}"), "s"),
    ]


def _reward() -> list[Panel]:
    quantiles = [
        _of("reward/{component}/{quantile}", f"{{{{run}}}} {q}", where=f'component="total",quantile="{q}"')
        for q in ("p90", "p50", "p10")
    ]
    return [
        graph("Mean reward", _of("reward/mean"), step=STEP, width=12, note="The step, on the right, beside it."),
        against_step(
            "Mean reward by learner step",
            Query(_RUN.by_step("reward/mean"), "{{run}}"),
            width=12,
            note="Runs lie over each other whenever they began, if the time that is chosen holds them all. Of a "
            "step that was done again the last value is shown.",
        ),
        graph("Spread of the reward", *quantiles, note="Of the whole reward."),
        graph("Reward by component", _of("reward/{component}", "{{run}} {{component}}", "component")),
        graph(
            "Spread of the components",
            _of(
                "reward/{component}/{quantile}",
                "{{run}} {{component}} {{quantile}}",
                "component",
                "quantile",
                where='component!="total"',
            ),
        ),
        graph("Standard deviation of the reward", _of("reward/std")),
        graph("Steps without a rise of the reward", _of("reward/plateau"), note="An alert fires at 100."),
        graph(
            "Pass rate",
            _of("reward/solved", "{{run}} samples that pass all tests"),
            _of("reward/pass_rate", "{{run}} tests"),
            _of("evaluation/pass_rate", "{{run}} held out"),
            unit="percentunit",
        ),
        graph(
            "Groups without variance",
            _of("groups/zero_variance"),
            unit="percentunit",
            width=12,
            note="Such a group teaches nothing: its advantages are 0.",
        ),
        graph("Samples left out", _of("reward/excluded"), width=12),
    ]


def _policy() -> list[Panel]:
    return [
        graph("KL to the reference", _of("policy/kl"), step=STEP),
        graph(
            "Ratios clipped",
            _of("policy/clip_fraction", "{{run}} all"),
            _of("policy/clip_low_fraction", "{{run}} from below"),
            _of("policy/clip_high_fraction", "{{run}} from above"),
            unit="percentunit",
        ),
        graph(
            "Likelihood ratio",
            Query(_RUN.either("policy/ratio_mean", "policy/importance_mean"), "{{run}} {{__name__}}"),
            note="The importance weight only with learner.off_policy_cap.",
        ),
        graph("Entropy in nats", _of("policy/entropy")),
        graph(
            "Loss",
            Query(
                _RUN.either("policy/loss", "policy/preference_accuracy", "policy/preference_margin"),
                "{{run}} {{__name__}}",
            ),
            note="The preferences only with learner.objective: vrpo.",
        ),
        graph("Gradient norm", _of("optim/grad_norm")),
        graph("Learning rate", _of("optim/learning_rate"), unit="sci", width=12),
        graph("Tokens trained on in a step", _of("policy/valid_tokens"), unit="short", width=12),
        graph(
            "Mismatch of rollouts in nats",
            _of("mismatch/mean", "{{run}} mean"),
            _of("mismatch/max", "{{run}} largest"),
            note=_MISMATCH,
        ),
        graph("KL of rollouts to the learner in nats", _of("mismatch/kl"), note=_MISMATCH),
        graph(
            "Effective sample size of rollouts",
            _of("mismatch/effective_share"),
            unit="percentunit",
            note=_MISMATCH,
        ),
    ]


def _groups() -> list[Panel]:
    ledger = [
        _of(f"ledger/{fate}", f"{{{{run}}}} {fate.replace('_', ' ')}")
        for fate in ("admitted", "trained", "filtered", "dropped", "in_flight")
    ]
    return [
        graph("Length in tokens", _of("response/length_mean")),
        graph("Without an end of text", _of("response/truncated"), unit="percentunit"),
        graph(
            "Staleness",
            _of("staleness/mean", "{{run}} mean"),
            _of("staleness/max", "{{run}} largest"),
            _of("run/max_staleness", "{{run}} bound"),
        ),
        graph("Groups since the start", *ledger, width=12, note="Admitted is always the sum of the others."),
        graph("Groups in a step", _of("groups/trained"), width=12),
    ]
