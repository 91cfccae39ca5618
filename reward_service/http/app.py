"""The reward service's HTTP API: batches of completions, single programs, health and metrics."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from starlette.types import ASGIApp

from reward_service.http import errors
from reward_service.http.batch import Batch, check_verdicts
from reward_service.http.bodies import LargeBodyRoute
from reward_service.http.client import LineStream, while_client_waits
from reward_service.http.dispatch import OverloadedError
from reward_service.http.errors import RefusedError
from reward_service.http.guard import Guard
from reward_service.http.metrics import Metered
from reward_service.http.models import ErrorAnswer, GroupLine, ScoreRequest, SummaryLine
from reward_service.http.sandbox_fusion import RunAnswer, RunCode, answer_of, limits_of, program_of, refusal
from reward_service.http.service import RewardService

log = logging.getLogger(__name__)
router = APIRouter(route_class=LargeBodyRoute)
_HEALTH = ("/healthz", "/readyz")
_METRICS = "/metrics"
#: For a client to read what is left of its answer once the batch is done.
_READING_S = 60.0


def create_app(service: RewardService) -> ASGIApp:
    """Put a service behind HTTP; the caller closes it."""
    settings = service.settings
    refused = {"model": ErrorAnswer, "description": "Refused"}
    api = FastAPI(
        title="Couplet reward service", docs_url=None, redoc_url=None, responses={"4XX": refused, "5XX": refused}
    )
    api.state.service = service
    api.include_router(router)
    errors.install(api)
    open_paths = _HEALTH if settings.metrics_need_token else (*_HEALTH, _METRICS)
    api.add_middleware(
        Guard, token=settings.token, open_paths=open_paths, max_body=settings.max_body, turns=service.turns
    )
    # Around the framework, so that it sees the answers to errors that nothing handles.
    return Metered(api, service.metrics, (*_HEALTH, _METRICS))


async def _service_of(request: Request) -> RewardService:
    service: RewardService = request.app.state.service
    return service


Service = Annotated[RewardService, Depends(_service_of)]


@router.post(
    "/v1/score", responses={200: {"model": GroupLine | SummaryLine, "description": "A line of the answer"}}
)
async def score(batch: ScoreRequest, service: Service) -> LineStream:
    """Score groups of completions; newline-delimited JSON, a line for each group and then a summary."""
    check_verdicts(batch.groups)
    seconds = min(batch.deadline_s or service.settings.deadline_s, service.settings.deadline_s)
    # What a model wrote is looked for the program in, which takes its time.
    scoring = await asyncio.to_thread(Batch, batch.groups, service.scorer, seconds)
    service.dispatcher.check(len(scoring.parts))
    submission = service.dispatcher.submit(scoring.jobs())
    deadline = asyncio.get_running_loop().time() + seconds
    lines = scoring.lines(submission, deadline, seconds, service.metrics.late)
    return LineStream(lines, submission.close, seconds + _READING_S)


@router.post("/run_code")
async def run_code(asked: RunCode, request: Request, service: Service) -> RunAnswer:
    """Run one program, as SandboxFusion does."""
    refused = refusal(asked, service.languages)
    if refused is not None:
        return refused
    try:
        submission = service.dispatcher.submit(
            [partial(service.run, program_of(asked), limits_of(asked, service.limits))]
        )
    except OverloadedError as error:
        # The one status after which verl's client tries again instead of calling the program wrong.
        raise RefusedError(
            HTTPStatus.GATEWAY_TIMEOUT, error.detail, type_="queue_full", retry_after=error.retry_after
        ) from error
    try:
        deadline = asyncio.get_running_loop().time() + service.settings.deadline_s
        done = await while_client_waits(request.receive, submission.first(deadline))
    finally:
        submission.close()
    if done is None:
        raise RefusedError(HTTPStatus.GATEWAY_TIMEOUT, "the program's turn did not come in time")
    if done.error is not None or done.result is None:
        log.error("run_code failed", exc_info=done.error)
        return RunAnswer(status="SandboxError", message=f"internal error: {done.error!r}")
    return answer_of(done.result)


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """Answer while the process does."""
    return {"status": "alive"}


@router.get("/readyz")
async def ready(service: Service) -> dict[str, str]:
    """Tell whether it takes work: the sandbox runs programs and the service is not about to end."""
    problem = service.problem()
    if problem is not None:
        raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, problem, type_="not_ready")
    return {"status": "ready"}


@router.get(_METRICS)
async def metrics(service: Service) -> Response:
    """Export the metrics to Prometheus."""
    return Response(service.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
