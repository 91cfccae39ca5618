"""A stage's run from its recipe to its report: everything it needs is made or started here, and stopped again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from common.config import StageConfig
from common.models.config import ModelConfig
from common.models.folder import model_folder
from learner.checkpoints import adopt, load_progress
from learner.stages.progress import StageProgress
from orchestrator.attempt import attempt
from orchestrator.checkpoint_room import check_room, room_sentence
from orchestrator.fleet.cluster import SMALL_STORE_BYTES, ray_cluster, resources_of_ranks
from orchestrator.fleet.free_resources import await_resources
from orchestrator.fleet.rank_group import export_model
from orchestrator.interrupt import StopRequest
from orchestrator.report.display import Display
from orchestrator.run_length import with_steps
from orchestrator.run_recorder import RunOutput
from orchestrator.stages.checks import check_stage
from orchestrator.stages.length import stage_length
from orchestrator.stages.preparation import Prepared, prepare_stage
from orchestrator.stages.stage_group import running_ranks
from orchestrator.stages.stage_loop import BEST, StageRunLoop
from orchestrator.stages.stage_recorder import open_stage_recorder


def run_stage(config: StageConfig, resume: str, display: Display) -> dict[str, Any]:
    """Run ``config`` and return its summary. ``resume`` is ``auto``, ``never`` or a path (orchestrator/resume.py).

    Problems that can be seen beforehand (configuration, checkpoint, model) are raised before anything is written.
    """
    notes: list[str] = []
    checkpoint = check_stage(config, resume, notes)
    return attempt(config, resume, display, partial(_run, config, checkpoint, notes), _results)


def _run(
    config: StageConfig, checkpoint: Path | None, notes: Sequence[str], output: RunOutput, stop: StopRequest
) -> None:
    """Prepare what the ranks start from, in steps of a known number, and train on it."""
    began = time.monotonic()
    folder, display = output.folder, output.display
    for note in filter(None, [config.run.about, *notes]):
        display.note(note)
    if checkpoint is None:  # what an attempt recorded that left none may be of other settings
        folder.rewind(-1)
        shutil.rmtree(folder.path / BEST, ignore_errors=True)
    prepared = prepare_stage(
        config, folder.path.resolve(), display.phase, stop.check, resumed=checkpoint is not None
    )
    if checkpoint is not None:
        load_progress(checkpoint, StageProgress).check(prepared.corpus)
        checkpoint = adopt(folder.path.resolve() / "checkpoints", checkpoint)
    summary = prepared.corpus.summary
    folder.write_record("corpus", {"fingerprint": prepared.corpus.fingerprint, **summary.as_record()})
    display.note(f"data: {summary.sentence()}")
    length = stage_length(config, prepared.corpus)
    display.note(f"training: {length.sentence()}")
    model = ModelConfig.from_folder(model_folder(prepared.model))
    check_room(config, model)
    display.note(f"checkpoints: {room_sentence(config, model, length.steps)}")
    folder.write_record("length", length.as_record())
    config = with_steps(config, length.steps)
    folder.write_config(config)
    output.totals.add_seconds("prepare", time.monotonic() - began)
    _train(folder.located(config), prepared, checkpoint, output, stop)


def _train(
    config: StageConfig, prepared: Prepared, checkpoint: Path | None, output: RunOutput, stop: StopRequest
) -> None:
    """Start Ray, the ranks and the recorder, run the loop, and stop them again in reverse order."""
    began = time.monotonic()
    folder, display = output.folder, output.display
    display.phase("starting Ray")
    # No weights go through the object store.
    with ray_cluster(config, folder.path, folder.run_id, SMALL_STORE_BYTES) as access:
        display.places({"run folder": str(folder.path), **access.places()})
        stop.check()
        await_resources(config, resources_of_ranks(config), output.note, stop.check)
        display.phase("starting actors")
        with (
            running_ranks(
                config, folder.run_id, prepared.model, prepared.data, checkpoint, stop.check, output.note
            ) as ranks,
            open_stage_recorder(config, output, ranks) as recorder,
        ):
            output.totals.add_seconds("start", time.monotonic() - began)
            has_held_out = bool(prepared.corpus.held_out(1))
            StageRunLoop(config, ranks, has_held_out, recorder, stop).run()
            export_model(ranks, config.folder / "model", output.note)
            display.phase("stopping")


def _results(output: RunOutput) -> dict[str, Any]:
    folder = output.folder
    metrics, evaluations = folder.records("metrics"), folder.records("evaluations")
    last = metrics[-1] if metrics else {}
    seconds = sum(record["seconds/step"] for record in metrics[1:])
    since_the_first = last["data/tokens"] - metrics[0]["data/tokens"] if metrics else 0.0
    model = folder.path / "model"
    return {
        "held_out_loss_before": evaluations[0]["held_out/loss"] if evaluations else None,
        "held_out_loss_after": evaluations[-1]["held_out/loss"] if len(evaluations) > 1 else None,
        "tokens": int(last.get("data/tokens", 0)),
        "epochs": last.get("data/epochs", 0.0),
        "tokens_per_second": round(since_the_first / seconds, 1) if seconds else 0.0,
        "model": str(model) if model.exists() else None,
    }
