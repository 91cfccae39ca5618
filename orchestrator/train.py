"""A run from its recipe to its report: everything it needs is started here, and stopped again."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from common.config import Config, VllmBackendConfig
from orchestrator.admission import Admission
from orchestrator.attempt import attempt
from orchestrator.evaluator import Evaluator
from orchestrator.fleet.cluster import (
    check_embedded_redis,
    object_store_bytes,
    ray_cluster,
    required_resources,
)
from orchestrator.fleet.fleet import FleetSetup, running_fleet
from orchestrator.fleet.free_resources import await_resources
from orchestrator.fleet.rank_group import export_model
from orchestrator.interrupt import StopRequest
from orchestrator.preflight import RunInputs, check_run
from orchestrator.recorder import open_recorder
from orchestrator.recovery import Recovery
from orchestrator.report.display import Display
from orchestrator.run_length import with_steps
from orchestrator.run_loop import RunLoop
from orchestrator.run_recorder import RunOutput
from orchestrator.run_streams import run_streams
from orchestrator.side_evaluation import SideEvaluation

_WITH_VLLM = "; a rollout worker takes a minute or so to import vLLM, and to load the model into its processes"


def train(config: Config, resume: str, display: Display) -> dict[str, Any]:
    """Run ``config`` and return its summary. ``resume`` is ``auto``, ``never`` or a path (orchestrator/resume.py).

    Problems that can be seen beforehand (configuration, Redis, sandbox, data, model) are raised before anything
    is written or started; that there are fewer synthetic tasks than asked for, before any actor.
    """
    inputs = check_run(config, resume)
    config = with_steps(config, inputs.length.steps)
    return attempt(config, resume, display, partial(_train, config, inputs), _results)


def _train(config: Config, inputs: RunInputs, output: RunOutput, stop: StopRequest) -> None:
    """Start Redis, Ray, the fleet and the recorder, run the loop, and stop them again in reverse order."""
    began = time.monotonic()
    folder, display = output.folder, output.display
    if inputs.checkpoint is None:  # what an attempt recorded that left none may be of other settings
        folder.rewind(-1)
    folder.write_record("length", inputs.length.as_record())
    display.phase("starting Redis and Ray")
    for note in filter(None, [config.run.about, *inputs.notes]):
        display.note(note)
    with (
        run_streams(config, folder, inputs.checkpoint, output.note, stop.check) as opened,
        ray_cluster(config, folder.path, folder.run_id, object_store_bytes(config)) as access,
    ):
        display.places({"run folder": str(folder.path), **access.places()})
        stop.check()
        await_resources(config, required_resources(config), output.note, stop.check)
        check_embedded_redis(config)
        curriculum, held_out = inputs.tasks.result()
        vllm = isinstance(config.rollout.backend, VllmBackendConfig)
        display.phase(f"starting actors{_WITH_VLLM if vllm else ''}")
        config = folder.located(config)
        setup, streams = FleetSetup(config, folder.run_id, opened.url), opened.streams
        with (
            running_fleet(setup, opened.checkpoint, stop.check, streams.mend, output.note) as fleet,
            open_recorder(config, output, opened.url, fleet) as recorder,
        ):
            admission = Admission(config, folder.run_id, streams, curriculum)
            evaluator = Evaluator(config, folder.run_id, streams, held_out)
            evaluation = SideEvaluation(config, fleet, evaluator, recorder)
            recovery = Recovery(streams, admission, fleet.learner, recorder.note, opened.terms.check)
            output.totals.add_seconds("start", time.monotonic() - began)
            RunLoop(config, fleet, admission, evaluation, recovery, recorder, stop).run()
            export_model(fleet.learner, folder.path.resolve() / "model", output.note)
            streams.expire()
            display.phase("stopping")


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
