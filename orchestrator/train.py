"""A run from its recipe to its report: everything it needs is started here, and stopped again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from common.config import Config
from common.streams import Streams, connect
from learner.checkpoints import adopt
from orchestrator.admission import Admission
from orchestrator.evaluator import Evaluator
from orchestrator.fleet.cluster import await_resources, ray_cluster
from orchestrator.fleet.embedded_redis import EmbeddedRedis
from orchestrator.fleet.fleet import FleetSetup, running_fleet
from orchestrator.fleet.learner_group import LearnerDiedError, LearnerGroup
from orchestrator.interrupt import Interrupted, StopRequest
from orchestrator.preflight import RunInputs, check_run
from orchestrator.recorder import RunOutput, open_recorder
from orchestrator.report.display import Display
from orchestrator.report.run_page import write_report
from orchestrator.resume import rewind_streams
from orchestrator.run_folder import RunFolder, write_text
from orchestrator.run_length import with_steps
from orchestrator.run_loop import RunLoop


def train(config: Config, resume: str, display: Display) -> dict[str, Any]:
    """Run ``config`` and return its summary. ``resume`` is ``auto``, ``never`` or a path (orchestrator/resume.py).

    Problems that can be seen beforehand (configuration, Redis, sandbox, data, model) are raised before anything
    is written or started.
    """
    inputs = check_run(config, resume)
    config = with_steps(config, inputs.length)
    output = RunOutput(RunFolder.open(config, resume=resume != "never"), display)
    folder = output.folder.path
    write_text(folder / "length.json", json.dumps(inputs.length.as_record(), indent=2) + "\n")
    (folder / "summary.json").unlink(missing_ok=True)  # of an earlier attempt: the run is going again
    started = time.monotonic()
    status = "failed"
    try:
        with StopRequest() as stop:
            _train(config, inputs, output, stop)
            status = "finished"
    except (KeyboardInterrupt, Interrupted):
        status = "interrupted"
        raise
    finally:
        summary = _summary(output, status, time.monotonic() - started)
        write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
        write_report(folder)
        output.folder.close()
    return summary


def _train(config: Config, inputs: RunInputs, output: RunOutput, stop: StopRequest) -> None:
    """Start Redis, Ray, the fleet and the recorder, run the loop, and stop them again in reverse order."""
    began = time.monotonic()
    folder, display = output.folder, output.display
    display.phase("starting Redis and Ray")
    for note in filter(None, [config.run.about, *inputs.notes]):
        display.note(note)
    with (
        _run_streams(config, folder, inputs.checkpoint) as (redis_url, streams, checkpoint),
        ray_cluster(config, folder.path, folder.run_id) as access,
    ):
        display.places({"run folder": str(folder.path), **access.places()})
        stop.install()  # again: Ray has put a handler of its own in place
        await_resources(config, display.note, stop.check)
        display.phase("starting actors")
        # Actors run elsewhere: they get the folder's absolute path.
        run = config.run.model_copy(update={"folder": folder.path.resolve()})
        config = config.model_copy(update={"run": run})
        setup = FleetSetup(config, folder.run_id, redis_url)
        with (
            running_fleet(setup, checkpoint, stop.check, display.note) as fleet,
            open_recorder(config, output, redis_url, fleet) as recorder,
        ):
            admission = Admission(config, folder.run_id, streams, inputs.curriculum)
            evaluator = Evaluator(config, folder.run_id, streams, inputs.held_out)
            output.totals.add_seconds("start", time.monotonic() - began)
            RunLoop(config, fleet, admission, evaluator, recorder, stop).run()
            export_model(fleet.learner, folder.path.resolve() / "model", display.note)
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


def export_model(learner: LearnerGroup, target: Path, note: Callable[[str], None]) -> None:
    """Export the weights; if a rank dies over it, from the last checkpoint, which holds them too.

    Raises TooManyRestartsError.
    """
    failure: LearnerDiedError | None = None
    while True:
        try:
            if failure is not None:
                note(learner.restart(str(failure)))
            learner.export(target)
        except LearnerDiedError as error:
            failure = error
        else:
            return


def _summary(output: RunOutput, status: str, seconds: float) -> dict[str, Any]:
    folder, totals = output.folder, output.totals
    evaluations = folder.records("evaluations")
    metrics = folder.records("metrics")
    training = totals.seconds.get("train", 0.0)
    return {
        "status": status,
        "updates": metrics[-1]["step"] if metrics else 0,
        "pass_rate_before": evaluations[0]["pass_rate"] if evaluations else None,
        "pass_rate_after": evaluations[-1]["pass_rate"] if len(evaluations) > 1 else None,
        "seconds": {name: round(value, 1) for name, value in {"total": seconds, **totals.seconds}.items()},
        "samples": totals.samples,
        "samples_per_second": round(totals.samples / training, 2) if training else 0.0,
        "run_folder": str(folder.path),
    }
