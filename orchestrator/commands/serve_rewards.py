"""``couplet serve-rewards``: the reward service, over HTTP and, if asked, on a run's streams."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from pathlib import Path

import click

from common.config import from_environment, without_password
from common.errors import UserError
from common.streams import StreamError
from orchestrator.commands.exits import CommandFailedError
from orchestrator.commands.numbers import FiniteRange
from orchestrator.commands.reward_settings import reward_settings
from reward_service.http.guard import is_loopback
from reward_service.http.server import ServiceProcess, listen
from reward_service.http.service import RewardService, ServiceSettings
from reward_service.http.stream_worker import StreamWorker

_TOKEN_VARIABLE = "COUPLET_REWARD_TOKEN"


@click.command("serve-rewards")
@click.argument("arguments", nargs=-1, metavar="[RECIPE] [OVERRIDES]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need a token.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0: a free one.")
@click.option("--token-file", type=click.Path(path_type=Path), help=f"Bearer token [default: ${_TOKEN_VARIABLE}].")
@click.option("--metrics-token", is_flag=True, help="Ask for the token on /metrics as well.")
@click.option(
    "--queue", default=4096, show_default=True, type=click.IntRange(min=1), help="Programs that may wait."
)
@click.option(
    "--deadline-seconds",
    default=600.0,
    show_default=True,
    type=FiniteRange(min=0, min_open=True),
    help="For a batch, at most.",
)
@click.option(
    "--max-body-mb", default=64, show_default=True, type=click.IntRange(min=1), help="Of a request, MiB."
)
@click.option("--max-connections", default=512, show_default=True, type=click.IntRange(min=1), help="At a time.")
@click.option(
    "--header-seconds",
    default=10.0,
    show_default=True,
    type=FiniteRange(min=0, min_open=True),
    help="For the header of a request.",
)
@click.option(
    "--drain-seconds",
    default=60.0,
    show_default=True,
    type=FiniteRange(min=0),
    help="After SIGTERM, for what is open to finish.",
)
@click.option("--streams-url", help="Redis of a run whose rollouts to score: redis://host:port/db or env:NAME.")
@click.option("--run-id", help="That run's id.")
def serve_rewards(
    arguments: tuple[str, ...],
    host: str,
    port: int,
    token_file: Path | None,
    metrics_token: bool,
    queue: int,
    deadline_seconds: float,
    max_body_mb: int,
    max_connections: int,
    header_seconds: float,
    drain_seconds: float,
    streams_url: str | None,
    run_id: str | None,
) -> None:
    """Score completions over HTTP.

    POST /v1/score takes batches, /run_code is as SandboxFusion has it. RECIPE gives the rewards and the sandbox;
    without one they are the defaults. OVERRIDES are section.field=value; without a RECIPE, reward.field=value.
    """
    if (streams_url is None) != (run_id is None):
        raise UserError("--streams-url and --run-id: they go together; give both or neither")
    token = _token(token_file)
    _check_host(host, token)
    chosen = reward_settings(arguments)
    worker = None
    if streams_url is not None and run_id is not None:
        streams_url = from_environment("--streams-url", streams_url)
        name = f"{socket.gethostname()}-{os.getpid()}"
        worker = StreamWorker(
            streams_url, run_id, name, chosen.streams, chosen.reward, chosen.deadlines.step_seconds
        )
    try:
        listener = listen(host, port)
    except OSError as error:
        raise UserError(f"--host {host} --port {port}: cannot listen there: {error}") from error
    service = RewardService(
        chosen.reward,
        ServiceSettings(
            queue,
            deadline_seconds,
            max_body_mb << 20,
            max_connections,
            header_seconds,
            token,
            metrics_token,
            socket.gethostname(),
            run_id or "",
        ),
        worker.problem if worker is not None else lambda: None,
    )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # strangers can cause its warnings
    facts = service.sandbox.describe()
    address = f"[{host}]" if ":" in host else host
    click.echo(f"sandbox: {facts.get('backend')}, level {facts.get('level')}, {service.sandbox.slots} slots")
    if streams_url is not None:
        click.echo(f"streams: rollouts of run {run_id} on {without_password(streams_url)}")
    access = "with the token" if token else "from this machine only, without a token"
    click.echo(f"reward service: http://{address}:{listener.getsockname()[1]} ({access})")
    try:
        asyncio.run(ServiceProcess(service, worker, drain_seconds).serve(listener))
    except StreamError as error:
        raise CommandFailedError(f"the stream worker gave up: {error}") from error


def _token(file: Path | None) -> str | None:
    """Raises UserError."""
    if file is None:
        token, source = os.environ.get(_TOKEN_VARIABLE), f"${_TOKEN_VARIABLE}"
    else:
        try:
            token, source = file.read_text(encoding="utf-8"), f"--token-file {file}"
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--token-file {file}: cannot be read: {error}") from error
    if token is None:
        return None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(f"{source}: a token is one word of ASCII; make one with `openssl rand -hex 32`")
    return token


def _check_host(host: str, token: str | None) -> None:
    """Raises UserError where strangers could have programs run here."""
    if token is None and not is_loopback(host):
        raise UserError(
            f"--host {host}: other machines could reach it, so it needs a token; set ${_TOKEN_VARIABLE}, give "
            "--token-file, or listen on 127.0.0.1"
        )
