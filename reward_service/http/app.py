"""The reward service's HTTP API: batches of completions, single programs, health and figures."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from common.metrics.metric import PROCESS_LABELS
from reward_service.http import errors as service_errors
from reward_service.http.batch import Batch
from reward_service.http.client import LineStream, while_client_waits
from reward_service.http.dispatch import Dispatcher, Done, OverloadedError, Submission
from reward_service.http.errors import answer_of_status
from reward_service.http.fusion import RunAnswer, RunCode, answer_of, limits_of, program_of, refusal
from reward_service.http.guard import Guard
from reward_service.http.health import Prober, Readiness, WatchedScorer
from reward_service.http.metrics import Metered, ServiceMeter
from reward_service.http.models import BadRequestError, ScoreRequest, parse
from reward_service.http.schema import describe_bodies
from reward_service.scoring import Scorer
from sandbox.types import CaseRun, Limits, Sandbox

log = logging.getLogger(__name__)
T = TypeVar("T")
_HEALTH = ("/healthz", "/readyz")
_PATHS = ("/v1/score", "/run_code")
#: For a client to send its body, and to read what is left of its answer once the batch is done.
_READING_S = 60.0


@dataclass(frozen=True)
class ServiceSettings:
    """``queue``: programs that may wait. ``deadline_s``: no batch gets more. ``max_body``: bytes of a request.

    ``token`` None lets everybody in; with ``metrics_need_token`` it is asked for ``/metrics`` as well.
    ``name`` and ``run_id``, of the run whose streams it serves too, are labels of its metrics.
    """

    queue: int = 4096
    deadline_s: float = 600.0
    max_body: int = 64 << 20
    token: str | None = None
    metrics_need_token: bool = False
    name: str = "reward-service"
    run_id: str = ""


class RewardService:
    """One scorer and its sandbox behind HTTP. It takes them over: :meth:`close` closes both.

    Made on any thread, used on that of an event loop.
    """

    def __init__(self, scorer: Scorer, sandbox: Sandbox, limits: Limits, settings: ServiceSettings) -> None:
        self.readiness = Readiness()
        self.scorer = WatchedScorer(scorer, self.readiness)
        self.prober = Prober(sandbox, self.readiness)
        labels = dict(zip(PROCESS_LABELS, (settings.run_id, "reward-service", settings.name), strict=True))
        self.meter = ServiceMeter(scorer.tally, lambda: self.dispatcher.depth, settings.queue, _PATHS, labels)
        self.dispatcher = Dispatcher(sandbox.slots, settings.queue, self.meter)
        self._scorer = scorer
        self._sandbox = sandbox
        self._limits = limits
        self._settings = settings

    def app(self) -> ASGIApp:
        api = FastAPI(title="Couplet reward service", docs_url=None, redoc_url=None)
        service_errors.install(api)
        api.post("/v1/score", response_model=None)(self.score)
        api.post("/run_code", response_model=None)(self.run_code)
        for path, probe in (("/healthz", self.alive), ("/readyz", self.ready), ("/metrics", self.metrics)):
            api.get(path, response_model=None)(probe)
        describe_bodies(api, {"/v1/score": ScoreRequest, "/run_code": RunCode})
        open_paths = _HEALTH if self._settings.metrics_need_token else (*_HEALTH, "/metrics")
        guarded = Guard(api, self._settings.token, open_paths, self._settings.max_body)
        return Metered(guarded, self.meter, (*_HEALTH, "/metrics"))

    async def score(self, request: Request) -> Response:
        """Score groups of completions; newline-delimited JSON, a line for each group and then a summary."""
        asked = parse(ScoreRequest, await _json_body(request))
        seconds = min(asked.deadline_s or self._settings.deadline_s, self._settings.deadline_s)
        batch = Batch(asked.groups, self.scorer)
        submission = self.dispatcher.submit(batch.jobs())
        deadline = asyncio.get_running_loop().time() + seconds
        lines = batch.lines(submission, deadline, seconds, self.meter.late)
        return LineStream(lines, submission.close, seconds + _READING_S)

    async def run_code(self, request: Request) -> Response:
        """Run one Python program, as SandboxFusion does."""
        asked = parse(RunCode, await _json_body(request))
        refused = refusal(asked)
        if refused is not None:
            return _json(refused)
        try:
            submission = self.dispatcher.submit([partial(self._run, asked)])
        except OverloadedError as error:
            # The one status after which verl's client tries again instead of calling the program wrong.
            answer = answer_of_status(HTTPStatus.GATEWAY_TIMEOUT, str(error), type_="queue_full")
            answer.headers["retry-after"] = str(error.retry_after)
            return answer
        try:
            deadline = asyncio.get_running_loop().time() + self._settings.deadline_s
            done = await while_client_waits(request.receive, _first(submission, deadline))
        finally:
            submission.close()
        if done is None:
            return answer_of_status(HTTPStatus.GATEWAY_TIMEOUT, "the program's turn did not come in time")
        if done.error is not None or done.result is None:
            log.error("run_code failed", exc_info=done.error)
            return _json(RunAnswer(status="SandboxError", message=f"internal error: {done.error!r}"))
        return _json(answer_of(done.result))

    async def alive(self) -> Response:
        """Whether the process answers."""
        return Response('{"status":"alive"}', media_type="application/json")

    async def ready(self) -> Response:
        """Whether it takes work: the sandbox runs programs and the service is not about to end."""
        problem = "the service is shutting down" if self.dispatcher.draining else self.readiness.problem()
        if problem is not None:
            return answer_of_status(HTTPStatus.SERVICE_UNAVAILABLE, problem, type_="not_ready")
        return Response('{"status":"ready"}', media_type="application/json")

    async def metrics(self) -> Response:
        """Figures for Prometheus."""
        return Response(self.meter.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def close(self) -> None:
        """Programs that still run end as ``infra``. Blocks until every thread has ended."""
        self._sandbox.close()
        self.dispatcher.close()
        self.prober.close()
        self._scorer.close()

    def _run(self, asked: RunCode) -> CaseRun:
        (run,) = self._sandbox.run(program_of(asked), limits_of(asked, self._limits))
        self.readiness.judge(run)
        return run


async def _first(submission: Submission[T], deadline: float) -> Done[T] | None:
    async with aclosing(submission.outcomes(deadline)) as outcomes:
        async for done in outcomes:
            return done
    return None


async def _json_body(request: Request) -> bytes:
    """Raises BadRequestError for another kind of content: a page in a browser could send that unasked."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise BadRequestError("send JSON, with the header 'Content-Type: application/json'", None)
    try:
        async with asyncio.timeout(_READING_S):
            return await request.body()
    except TimeoutError as error:
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, f"no whole body in {_READING_S:g} s") from error


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")
