"""Metrics that processes keep while they work, whatever the learner's step; Prometheus alone sees them."""

from __future__ import annotations

from common.metrics.metric import Kind, Metric


def _counter(key: str, help: str, unit: str = "", labels: tuple[str, ...] = (), name: str = "") -> Metric:
    return Metric(key, help, unit, Kind.COUNTER, labels, name)


#: Of every process of a run.
PROCESS = (
    _counter("process/cpu", "User and system CPU time of the process", "seconds"),
    Metric("process/resident_memory", "Memory of the process that lies in RAM", "bytes"),
    Metric("process/open_fds", "Open file descriptors of the process"),
)

#: Of rollout workers, reward workers and learner ranks.
WORKER = (
    _counter("worker/groups", "Groups handled by this process"),
    _counter("worker/samples", "Samples handled by this process"),
    _counter("worker/busy", "Time spent working", "seconds"),
)
ROLLOUT = (
    _counter("worker/forwards", "Forward passes of the completions, counted for each"),
    _counter("worker/tokens", "Text tokens committed"),
    _counter("worker/refused", "Groups given up because they cannot be denoised"),
    Metric("worker/weights_version", "Version of the weights that the worker holds"),
    Metric(
        "worker/weights_delay",
        "Time from the last new weights' publication to the worker's first denoising step under them",
        "seconds",
    ),
)
REWARD_WORKER = (_counter("worker/infra_failures", "Samples excluded because the sandbox failed"),)

#: Of the run's driver, read when Prometheus asks.
RUN = (
    Metric("run/step", "Learner steps done", name="training_step"),
    Metric("run/steps_planned", "Learner steps that the run is to do", name="training_steps_planned"),
    Metric("run/step_end", "Unix time at which the last learner step ended", "timestamp_seconds"),
    Metric("run/info", "1; the labels say what runs", labels=("name", "model", "version")),
    Metric("run/max_staleness", "admission.max_staleness, the bound of a group's staleness"),
    Metric("run/disk_free", "Free space of the disk with the run folder", "bytes"),
    Metric("run/disk_size", "Size of the disk with the run folder", "bytes"),
    Metric("fleet/workers", "Actors of a pool in a state", labels=("pool", "state")),
    _counter("fleet/restarts", "Restarts of a pool's actors", labels=("pool",)),
    Metric("stream/messages", "Messages in a stream that are not acknowledged", labels=("stream",)),
    Metric("stream/capacity", "Messages that a stream may hold before its producer waits", labels=("stream",)),
    Metric("stream/pending", "Messages delivered to a consumer and not acknowledged", labels=("stream",)),
    _counter("stream/delivered", "Messages delivered to consumers so far", labels=("stream",)),
)

#: Of whatever scores: reward workers of a run and the reward service.
SCORING_COUNTERS = (
    _counter("scoring/groups", "Groups of completions scored"),
    _counter("scoring/completions", "Completions scored"),
    _counter("scoring/executions", "Programs run in the sandbox, references and probes included"),
    _counter("scoring/cache_hits", "Programs whose verdicts were remembered"),
    _counter("scoring/coalesced", "Programs that waited for the same program instead of running"),
    _counter("scoring/infra_retries", "Programs run once more because the sandbox failed"),
    _counter("scoring/excluded", "Completions excluded, for whatever reason"),
    _counter("scoring/hacking_probes", "Failed programs shown to a naive grader"),
    _counter("scoring/hacking_detected", "Failed programs that the naive grader would have passed"),
    _counter("scoring/forgeable_passes", "Completions that passed with tests in their own process"),
)
SCORING_TESTS = _counter("scoring/tests", "Tests judged, by verdict", labels=("verdict",))
SCORING_LOST = _counter("scoring/lost", "Groups that could not be scored, by reason", labels=("reason",))
SCORING_EXCLUSIONS = _counter("scoring/exclusions", "Completions excluded, by reason", labels=("reason",))
#: What the sandbox says of itself, under the same name without "scoring/".
SCORING_GAUGES = (
    Metric("scoring/slots", "Programs that can run at the same time"),
    Metric("scoring/slots_live", "Slots that have been started and hold"),
    Metric("scoring/slot_restarts", "Slots given up so far"),
)
SCORING_SPANS = (
    Metric("scoring/group", "From a group's arrival to its scores", "seconds", Kind.HISTOGRAM),
    Metric("scoring/queue_wait", "A program waiting for its turn", "seconds", Kind.HISTOGRAM),
)

#: Of the reward service's HTTP side.
HTTP_REQUESTS = _counter("reward_http/requests", "Requests answered", labels=("path", "status"))
HTTP_LATE = _counter(
    "reward_http/late_completions", "Completions excluded because their batch's deadline came first"
)
HTTP_PROGRAM = Metric(
    "reward_http/program",
    "A program of a request from its turn to its verdicts",
    "seconds",
    Kind.HISTOGRAM,
)
HTTP_WAIT = Metric(
    "reward_http/queue_wait", "A program of a request waiting for its turn", "seconds", Kind.HISTOGRAM
)
HTTP_DEPTH = Metric("reward_http/queue_depth", "Programs that wait")
HTTP_CAPACITY = Metric("reward_http/queue_capacity", "Programs that may wait")

SCORING = (*SCORING_COUNTERS, SCORING_TESTS, SCORING_LOST, SCORING_EXCLUSIONS, *SCORING_GAUGES, *SCORING_SPANS)
HTTP = (HTTP_REQUESTS, HTTP_LATE, HTTP_PROGRAM, HTTP_WAIT, HTTP_DEPTH, HTTP_CAPACITY)
