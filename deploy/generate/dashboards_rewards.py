"""The Rewards dashboard: what scoring does, in runs and in the reward service."""

from __future__ import annotations

from deploy.generate.dashboards_panels import Board, Choice, Panel, figure, graph
from deploy.generate.queries import CHOSEN, WHOSE, Query, Scope

#: The reward service may belong to no run, and then has no label ``run``.
_ALL = Scope(f'{CHOSEN},role=~"$role"', by=(*WHOSE, "role"))
_CHOICES = (
    Choice("namespace", "Namespace", "couplet_scoring_slots", everything=".*"),
    Choice("run", "Run", "couplet_scoring_slots", everything=".*"),
    Choice("role", "Scored by", "couplet_scoring_slots", everything=".*"),
)
_WHO = "{{role}} {{run}}"
_QUANTILES = (0.5, 0.9, 0.99)


def board() -> Board:
    rows = {
        "": _at_a_glance(),
        "Programs and verdicts": _programs(),
        "Latency and slots": _latency(),
        "Reward-hacking probe": _hacking(),
        "Reward service over HTTP": _http(),
    }
    about = "Programs run, verdicts, latency, sandbox slots and reward hacking, of runs and of the reward service."
    return Board("Rewards", about, rows, _CHOICES)


def _rate(key: str, legend: str = _WHO, *by: str) -> Query:
    return Query(_ALL.rate(key, *by), legend)


def _spread(key: str) -> list[Query]:
    return [Query(_ALL.quantile(q, key), f"{_WHO} p{q * 100:g}") for q in _QUANTILES]


def _at_a_glance() -> list[Panel]:
    alive = f"{_ALL.total('scoring/slots_live')} / {_ALL.total('scoring/slots')}"
    return [
        figure("Programs a second", _rate("scoring/executions")),
        figure("Completions a second", _rate("scoring/completions")),
        figure(
            "Masked",
            Query(_ALL.share("scoring/excluded", "scoring/completions"), _WHO),
            "percentunit",
            bad_from=0.01,
            note="Share of the completions that got no reward, because the sandbox failed.",
        ),
        figure("Time of a group", Query(_ALL.average("scoring/group"), _WHO), "s", note="Mean."),
        figure("Slots live", Query(alive, _WHO), "percentunit"),
        figure("Reward hacking found", Query(_found("$__range"), _WHO), "percentunit", bad_from=0.02, note=_PROBE),
    ]


_PROBE = (
    "Share of the failed programs that a naive grader would have passed. Where it rises, the policy learns to "
    "fool graders; the verdicts here do not depend on it."
)


def _found(window: str) -> str:
    found = _ALL.increase("scoring/hacking_detected", window)
    return f"{found} / clamp_min({_ALL.increase('scoring/hacking_probes', window)}, 1)"


def _programs() -> list[Panel]:
    return [
        graph(
            "Programs a second",
            _rate("scoring/executions", f"{_WHO} run"),
            _rate("scoring/cache_hits", f"{_WHO} remembered"),
            _rate("scoring/coalesced", f"{_WHO} shared"),
            _rate("scoring/infra_retries", f"{_WHO} run again"),
            width=12,
        ),
        graph(
            "Verdicts a second",
            _rate("scoring/tests", f"{_WHO} {{{{verdict}}}}", "verdict"),
            width=12,
            stacked=True,
        ),
        graph(
            "Infrastructure failures",
            Query(_ALL.share("scoring/excluded", "scoring/completions"), f"{_WHO} completions excluded"),
            Query(_ALL.share("scoring/infra_retries", "scoring/executions"), f"{_WHO} programs run again"),
            unit="percentunit",
            width=12,
        ),
        graph(
            "Lost and excluded",
            _rate("scoring/lost", f"{_WHO} groups: {{{{reason}}}}", "reason"),
            _rate("scoring/exclusions", f"{_WHO} completions: {{{{reason}}}}", "reason"),
            note="A second, by reason. The run's notes and its report tell the first few reasons in words.",
            width=12,
        ),
        graph("Completions a second", _rate("scoring/completions"), width=12),
        graph("Groups a second", _rate("scoring/groups"), width=12),
    ]


def _latency() -> list[Panel]:
    return [
        graph("Time of a group", *_spread("scoring/group"), unit="s", note="Quantiles."),
        graph("A program waits for its turn", *_spread("scoring/queue_wait"), unit="s", note="Quantiles."),
        graph(
            "Sandbox slots",
            Query(_ALL.total("scoring/slots"), f"{_WHO} all"),
            Query(_ALL.total("scoring/slots_live"), f"{_WHO} live"),
            Query(_ALL.total("scoring/slot_restarts"), f"{_WHO} given up"),
        ),
    ]


def _hacking() -> list[Panel]:
    return [
        graph("Reward hacking among failed programs", Query(_found("1h"), _WHO), unit="percentunit", note=_PROBE),
        graph(
            "Probes a second",
            _rate("scoring/hacking_probes", f"{_WHO} probes"),
            _rate("scoring/hacking_detected", f"{_WHO} reward hacking"),
        ),
        graph(
            "Passes that could be forged",
            Query(_ALL.share("scoring/forgeable_passes", "scoring/completions"), _WHO),
            unit="percentunit",
            note="Share of the completions.",
        ),
    ]


def _http() -> list[Panel]:
    return [
        graph("Requests a second", _rate("reward_http/requests", "{{run}} {{path}} {{status}}", "path", "status")),
        graph("Time of a program", *_spread("reward_http/program"), unit="s", note="Quantiles."),
        graph("A program waits for its turn", *_spread("reward_http/queue_wait"), unit="s", note="Quantiles."),
        graph(
            "Programs that wait",
            Query(_ALL.total("reward_http/queue_depth"), f"{_WHO} waiting"),
            Query(_ALL.total("reward_http/queue_capacity"), f"{_WHO} capacity"),
            width=12,
        ),
        graph("Completions a second that came too late", _rate("reward_http/late_completions"), width=12),
    ]
