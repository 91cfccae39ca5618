"""The System dashboard: is it busy, and with what?"""

from __future__ import annotations

from deploy.generate.dashboards_panels import NAMESPACE, RUN, Board, Choice, Panel, figure, graph
from deploy.generate.dashboards_run import STEP
from deploy.generate.queries import CHOSEN, WHOSE, Query, Scope

_PHASES = ("wait", "update", "checkpoint", "weights")
_RUN = Scope(CHOSEN, by=WHOSE)
_WORKERS = Scope(f'{CHOSEN},worker=~"$worker"', by=(*WHOSE, "role", "worker"))


def board() -> Board:
    return Board(
        "System",
        "Throughput, where the time goes, queues, actors and their machines.",
        {
            "": _at_a_glance(),
            "Throughput": _throughput(),
            "Where the time goes": _time(),
            "Queues": _queues(),
            "Actors": _actors(),
            "Processes and disk": _processes(),
        },
        (NAMESPACE, RUN, Choice("worker", "Worker", "couplet_process_open_fds", everything=".*")),
    )


def _of(key: str, legend: str = "{{run}}", *by: str, where: str = "") -> Query:
    return Query(_RUN.newest(key, *by, where=where), legend)


def _rate(key: str, legend: str = "{{run}}", *by: str, where: str = "") -> Query:
    return Query(_RUN.rate(key, *by, where=where), legend)


def _at_a_glance() -> list[Panel]:
    waiting = f"{_RUN.newest('seconds/wait')} / {_RUN.newest('seconds/step')}"
    full = f"{_RUN.newest('stream/messages', 'stream')} / {_RUN.newest('stream/capacity', 'stream')}"
    return [
        figure("Samples a second", _of("perf/samples_per_second")),
        figure("Step", _of("seconds/step"), "s"),
        figure("Learner waits", Query(waiting, "{{run}}"), "percentunit", note="Share of the last step."),
        figure("Actors that work", _sum("fleet/workers", 'state="healthy"')),
        figure("Restarts", _of("restarts"), bad_from=1),
        figure(
            "Fullest stream",
            Query(f"max by ({', '.join(WHOSE)}) ({full})", "{{run}}"),
            "percentunit",
            bad_from=0.9,
            note="A full stream makes its producer wait.",
        ),
    ]


def _sum(key: str, where: str = "") -> Query:
    return Query(_RUN.total(key, where=where), "{{run}}")


def _throughput() -> list[Panel]:
    return [
        graph("Samples trained a second", _of("perf/samples_per_second"), step=STEP, width=12),
        graph("Tokens written a second", _rate("worker/tokens"), unit="short", width=12),
        graph("Forward passes a second", _rate("worker/forwards"), unit="short"),
        graph("Groups a second", _rate("worker/groups", "{{run}} {{role}}", "role")),
        graph("Samples a second", _rate("worker/samples", "{{run}} {{role}}", "role")),
    ]


def _time() -> list[Panel]:
    phases = [
        _of(f"seconds/{name}", f"{{{{run}}}} {name}")
        for name in ("wait", "update", "checkpoint", "weights", "switch")
    ]
    parts = [_of(f"seconds/{name}", f"{{{{run}}}} {name}") for name in ("log_probs", "backward", "optimizer")]
    return [
        graph("A step", *phases, unit="s", stacked=True, note="Wait is long where rollouts are the bottleneck."),
        graph("A step's update", *parts, unit="s", stacked=True),
        graph(
            "Work in a step's groups",
            _of("seconds/rollout", "{{run}} rollout"),
            _of("seconds/reward", "{{run}} reward"),
            unit="s",
        ),
        graph("Whole step", _of("seconds/step"), unit="s", width=12, step=STEP),
        graph(
            "Weights to the rollout workers",
            _of("seconds/weights", "{{run}} published"),
            _of("seconds/weights_delay", "{{run}} first step under them"),
            unit="s",
            width=12,
        ),
    ]


def _queues() -> list[Panel]:
    return [
        graph("Messages in a stream", _of("stream/messages", "{{run}} {{stream}}", "stream")),
        graph("Delivered, not acknowledged", _of("stream/pending", "{{run}} {{stream}}", "stream")),
        graph("Delivered a second", _rate("stream/delivered", "{{run}} {{stream}}", "stream")),
        graph(
            "Groups in flight",
            _of("ledger/in_flight"),
            _of("perf/spare_groups", "{{run}} ready and not needed yet"),
            width=12,
        ),
        graph(
            "Groups dropped or filtered",
            _of("ledger/dropped", "{{run}} dropped"),
            _of("ledger/filtered", "{{run}} filtered"),
            width=12,
            note="Since the start.",
        ),
    ]


def _actors() -> list[Panel]:
    return [
        graph(
            "Actors by state",
            Query(f"{_RUN.newest('fleet/workers', 'pool', 'state')} > 0", "{{run}} {{pool}} {{state}}"),
            note="States in which there are any.",
        ),
        graph("Restarts of actors", Query(_RUN.newest("fleet/restarts", "pool"), "{{run}} {{pool}}")),
        graph(
            "Weights version",
            _each("worker/weights_version"),
            _of("run/step", "{{run}} learner"),
            note="Of each rollout worker.",
        ),
        graph(
            "Delay of new weights",
            _each("worker/weights_delay"),
            unit="s",
            width=6,
            note="From their publication to a rollout worker's first step under them.",
        ),
        graph(
            "Busy",
            Query(_WORKERS.rate("worker/busy"), "{{run}} {{worker}}"),
            unit="percentunit",
            width=6,
            note="Share of the time that a worker spends on groups.",
        ),
        graph("Groups given up", _rate("worker/refused"), width=6, note="A second."),
        graph("Samples excluded", _rate("worker/infra_failures"), width=6, note="A second."),
    ]


def _each(key: str, legend: str = "{{run}} {{worker}}") -> Query:
    """A gauge of every process that is chosen."""
    return Query(_WORKERS.newest(key), legend)


def _processes() -> list[Panel]:
    process = "{{run}} {{role}} {{worker}}"
    used = f"1 - {_RUN.newest('run/disk_free')} / {_RUN.newest('run/disk_size')}"
    cores = Query(_WORKERS.rate("process/cpu"), process)
    return [
        graph("Cores used", cores, note="CPU seconds a second."),
        graph("Memory", _each("process/resident_memory", process), unit="bytes"),
        graph("Open files", _each("process/open_fds", process)),
        graph("Free disk", _of("run/disk_free"), unit="bytes", width=12),
        graph("Disk used", Query(used, "{{run}}"), unit="percentunit", width=12),
    ]
