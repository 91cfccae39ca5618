"""The service behind the routes: one scorer and its sandbox, the queue in front of them, and their health."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from common.config import ConfigError, RewardConfig
from common.language import Language
from common.metrics.metric import PROCESS_LABELS
from reward_service.configured import make_sandbox, make_scorer
from reward_service.http.bodies import BodyReader
from reward_service.http.dispatch import Dispatcher
from reward_service.http.health import Prober, Readiness
from reward_service.http.metrics import ServiceMetrics
from reward_service.http.turns import Turns
from sandbox.cancellation import Cancellation
from sandbox.types import CaseRun, Limits, Program


@dataclass(frozen=True)
class ServiceSettings:
    """``queue``: programs that may wait. ``deadline_s``: no batch gets more. ``max_body``: bytes of a request.
    ``connections``: at a time, and ``header_s``: seconds for each to send the header of a request.

    ``token`` None lets everybody in; with ``metrics_need_token`` it is asked for ``/metrics`` as well.
    ``name`` and ``run_id``, of the run whose streams it serves too, are labels of its metrics.
    """

    queue: int = 4096
    deadline_s: float = 600.0
    max_body: int = 64 << 20
    connections: int = 512
    header_s: float = 10.0
    token: str | None = None
    metrics_need_token: bool = False
    name: str = "reward-service"
    run_id: str = ""


class RewardService:
    """Owns a sandbox and the scorer over it until :meth:`close`. Made on any thread, used on an event loop's.

    ``problem_elsewhere`` says why what else the process does cannot be done now, None while it can. Raises
    SandboxUnavailable where the machine's isolation is too weak, ConfigError for a reward function.
    """

    def __init__(
        self,
        reward: RewardConfig,
        settings: ServiceSettings,
        problem_elsewhere: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.settings = settings
        self._problem_elsewhere = problem_elsewhere
        #: Of programs that bring no limits of their own.
        self.limits = Limits(memory_mb=reward.memory_mb)
        self.readiness = Readiness()
        self.sandbox = make_sandbox(reward)
        self.languages: Collection[Language] = self.sandbox.describe().get("languages", ("python",))
        try:
            self.scorer = make_scorer(reward, self.sandbox, self.readiness.observe)
        except ConfigError:
            self.sandbox.close()
            raise
        self.prober = Prober(self.sandbox, self.readiness)
        labels = dict(zip(PROCESS_LABELS, (settings.run_id, "reward-service", settings.name), strict=True))
        self.metrics = ServiceMetrics(self.scorer.metrics, lambda: self.dispatcher.depth, settings.queue, labels)
        self.bodies = BodyReader()
        self.turns = Turns()
        self.dispatcher = Dispatcher(self.sandbox.slots, settings.queue, self.metrics)

    def problem(self) -> str | None:
        """Say why it takes no work now; None when it does."""
        if self.dispatcher.draining:
            return "the service is shutting down"
        return self.readiness.problem() or self._problem_elsewhere()

    def run(self, program: Program, limits: Limits, cancellation: Cancellation) -> CaseRun:
        """Run a program of one case, whose end is a sign of the sandbox's health; blocks."""
        (run,) = self.sandbox.run(program, limits, cancellation=cancellation)
        if not cancellation.cancelled:
            self.readiness.observe_run(run)
        return run

    def close(self) -> None:
        """Stop everything. Programs that still run end as ``infra``; blocks until every thread has ended."""
        self.bodies.close()
        self.sandbox.close()
        self.scorer.end_functions()
        self.dispatcher.close()
        self.prober.close()
        self.scorer.close()
