"""Bugs in admission, health, resuming, the curriculum and recovery."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_ADMISSION = "orchestrator/admission.py"
_HEALTH = "orchestrator/fleet/health.py"
_TEST_ADMISSION = ("tests/orchestrator/test_admission.py",)
_TEST_HEALTH = ("tests/orchestrator/test_health.py",)

BUGS = (
    Mutation(
        "admitted-too-early",
        "No group is admitted that would be trained more than max_staleness versions late.",
        _ADMISSION,
        old="allowed = groups_per_step * (max_staleness + 1)",
        new="allowed = groups_per_step * (max_staleness + 2)",
        tests=_TEST_ADMISSION,
    ),
    Mutation(
        "filtered-not-replaced",
        "Another group is admitted for one that was filtered or dropped.",
        _ADMISSION,
        old="math.floor(expected * oversample)) - ledger.in_flight)",
        new="math.floor(expected * oversample)) - (ledger.admitted - ledger.trained))",
        tests=_TEST_ADMISSION,
    ),
    Mutation(
        "one-restart-too-many",
        "A worker restarts no more often than deadlines.restarts.",
        _HEALTH,
        old="if self.recent >= budget.restarts:",
        new="if self.recent > budget.restarts:",
        tests=_TEST_HEALTH,
    ),
    Mutation(
        "restarts-count-for-ever",
        "Restarts longer ago than deadlines.restart_window_seconds do not count against deadlines.restarts.",
        _HEALTH,
        old="if now - time < self._budget.window]",
        new="if now - time < 1e9]",
        tests=_TEST_HEALTH,
    ),
    Mutation(
        "blamed-for-a-busy-driver",
        "An actor is not late because the driver did not look for its answer.",
        "orchestrator/fleet/lateness.py",
        old="min(now - self._looked, self._allowed / 4)",
        new="now - self._looked",
        tests=("tests/orchestrator/test_lateness.py",),
    ),
    Mutation(
        "update-number-used-twice",
        "A worker that received all of a broadcast whose sender died is not taken to hold the next update.",
        "orchestrator/fleet/published.py",
        old="        self._newest = None\n        self._count += 1\n        return self._count",
        new="        self._newest = None\n        return self._count + 1",
        tests=("tests/orchestrator/test_published_weights.py",),
    ),
    Mutation(
        "healthy-without-weights",
        "A worker that needs weights is healthy only once it has them.",
        _HEALTH,
        old="Health.STALE if self.needs_weights else Health.HEALTHY",
        new="Health.HEALTHY",
        tests=_TEST_HEALTH,
    ),
    Mutation(
        "superseded-weights-current",
        "A worker that loads while newer weights are published loads those too.",
        "orchestrator/fleet/held_weights.py",
        old="if target.number != self._holds:",
        new="if not self._holds:",
        tests=("tests/orchestrator/test_weight_updates.py",),
    ),
    Mutation(
        "streams-emptied-needlessly",
        "A resume from the last checkpoint keeps the groups in the streams.",
        "orchestrator/resume.py",
        old="load_progress(checkpoint, Progress).consumed < streams.counters().get(CHECKPOINTED, 0)",
        new="load_progress(checkpoint, Progress).consumed <= streams.counters().get(CHECKPOINTED, 0)",
        tests=("tests/orchestrator/test_resume_option.py",),
    ),
    Mutation(
        "lost-groups-stay-lost",
        "Groups that Redis has lost and the learner lacks are published again.",
        "orchestrator/recovery.py",
        old="        self._admission.admit_again(missing)\n",
        new="",
        tests=("tests/orchestrator/test_recovery.py",),
    ),
    Mutation(
        "epochs-alike",
        "Every epoch has an order of its own.",
        "orchestrator/curriculum.py",
        old='rng.stream(self._seed, "task-order", epoch, *self._label)',
        new='rng.stream(self._seed, "task-order", *self._label)',
        tests=("tests/orchestrator/test_curriculum.py",),
    ),
    Mutation(
        "metrics-twice-after-restart",
        "Steps that a restarted learner makes again are recorded once.",
        "orchestrator/run_loop.py",
        old="                self.recorder.rewind(self.fleet.learner.version)\n",
        new="",
        tests=("tests/system/test_same_weights.py",),
        wider=("tests/system/test_same_weights.py",),
    ),
)
