"""A run from its recipe to its report: everything it needs is started here, and stopped again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from common.config import Config, VllmBackendConfig
from common.streams import Streams, connect
from learner.checkpoints import adopt
from orchestrator.admission import Admission
from orchestrator.attempt import attempt
from orchestrator.evaluator import Evaluator
from orchestrator.fleet.cluster import (
    await_resources,
    check_embedded_redis,
    object_store_bytes,
    ray_cluster,
    required_resources,
)
from orchestrator.fleet.embedded_redis import EmbeddedRedis
from orchestrator.fleet.fleet import FleetSetup, running_fleet
from orchestrator.fleet.rank_group import export_model
from orchestrator.interrupt import StopRequest
from orchestrator.preflight import RunInputs, check_run
from orchestrator.recorder import open_recorder
from orchestrator.report.display import Display
from orchestrator.resume import rewind_streams
from orchestrator.run_folder import RunFolder
from orchestrator.run_length import with_steps
from orchestrator.run_loop import RunLoop
from orchestrator.run_recorder import RunOutput

_WITH_VLLM = "; a rollout worker takes a minute or so to import vLLM, and to load the model into its processes"


def train(config: Config, resume: str, display: Display) -> dict[str, Any]:
    """Run ``config`` and return its summary. ``resume`` is ``auto``, ``never`` or a path (orchestrator/resume.py).

    Problems that can be seen beforehand (configuration, Redis, sandbox, data, model) are raised before anything
    is written or started.
    """
    inputs = check_run(config, resume)
    config = with_steps(config, inputs.length.steps)
    return attempt(config, resume, display, partial(_train, config, inputs), _results)


def _train(config: Config, inputs: RunInputs, output: RunOutput, stop: StopRequest) -> None:
    """Start Redis, Ray, the fleet and the recorder, run the loop, and stop them again in reverse order."""
    began = time.monotonic()
    folder, display = output.folder, output.display
    folder.write_record("length", inputs.length.as_record())
    display.phase("starting Redis and Ray")
    for note in filter(None, [config.run.about, *inputs.notes]):
        display.note(note)
    with (
        _run_streams(config, folder, inputs.checkpoint) as (redis_url, streams, checkpoint),
        ray_cluster(config, folder.path, folder.run_id, object_store_bytes(config)) as access,
    ):
        display.places({"run folder": str(folder.path), **access.places()})
        stop.install()  # again: Ray has put a handler of its own in place
        await_resources(config, required_resources(config), output.note, stop.check)
        check_embedded_redis(config)
        vllm = isinstance(config.rollout.backend, VllmBackendConfig)
        display.phase(f"starting actors{_WITH_VLLM if vllm else ''}")
        config = folder.located(config)
        setup = FleetSetup(config, folder.run_id, redis_url)
        with (
            running_fleet(setup, checkpoint, stop.check, output.note) as fleet,
            open_recorder(config, output, redis_url, fleet) as recorder,
        ):
            admission = Admission(config, folder.run_id, streams, inputs.curriculum)
            evaluator = Evaluator(config, folder.run_id, streams, inputs.held_out)
            output.totals.add_seconds("start", time.monotonic() - began)
            RunLoop(config, fleet, admission, evaluator, recorder, stop).run()
            export_model(fleet.learner, folder.path.resolve() / "model", output.note)
            streams.expire()
            display.phase("stopping")


@contextmanager
def _run_streams(
    config: Config, folder: RunFolder, checkpoint: Path | None
) -> Iterator[tuple[str, Streams, Path | None]]:
    """Open the run's streams, on a Redis of their own if there is no other, as ``checkpoint`` needs them.

    Yields the address of Redis, the streams, and the checkpoint's place in the run's folder.
    """
    with ExitStack() as stack:
        redis_url = config.streams.address
        if redis_url == "embedded":
            redis_url = stack.enter_context(EmbeddedRedis(folder.path / "redis")).url
        if not config.streams.in_environment:
            folder.write_secret("redis-url", redis_url)
        streams = Streams(connect(redis_url), folder.run_id, config.streams)
        if checkpoint is not None:
            checkpoint = adopt(folder.path.resolve() / "checkpoints", checkpoint)
            rewind_streams(streams, checkpoint)
        streams.create()
        yield redis_url, streams, checkpoint


def _results(output: RunOutput) -> dict[str, Any]:
    totals = output.totals
    evaluations = output.folder.records("evaluations")
    training = totals.seconds.get("train", 0.0)
    return {
        "pass_rate_before": evaluations[0]["pass_rate"] if evaluations else None,
        "pass_rate_after": evaluations[-1]["pass_rate"] if len(evaluations) > 1 else None,
        "samples": totals.samples,
        "samples_per_second": round(totals.samples / training, 2) if training else 0.0,
    }
