"""Which checkpoint --resume means, and which it refuses, before anything is started or written."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from common.config import Config, ConfigError, StreamsConfig, load_config
from common.streams import PROMPTS, TRAJECTORIES, Streams, connect
from learner.checkpoints import Checkpoints, Ranks
from learner.digests import join_shares, write_share
from learner.progress import Progress
from learner.resume_compatibility import recorded_settings
from learner.retention import Retention
from orchestrator.commands.main import main
from orchestrator.fleet.health import TooManyRestartsError
from orchestrator.fleet.rank_group import LearnerDiedError, export_model
from orchestrator.resume import checkpoint_to_resume, rewind_streams

RECIPE = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"


def config_of(folder: Path, *overrides: str) -> Config:
    return load_config(RECIPE, [f"run.folder={folder}", *overrides])


def save(config: Config, *versions: int) -> Path:
    """Checkpoints of a run of this configuration; the last one's folder."""
    folder = config.folder / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(folder, Retention(9), Ranks(0, 1, lambda: None), recorded_settings(config))
    for version in versions:
        checkpoints.save(
            Progress(version=version, next_index=4 * version, trained=4 * version), lambda target: None
        )
    return folder / f"step-{versions[-1]:06d}"


def test_auto_takes_the_latest_and_starts_afresh_where_there_is_none(tmp_path: Path) -> None:
    config = config_of(tmp_path / "run")
    assert checkpoint_to_resume(config, "auto", []) is None
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert checkpoint_to_resume(config, "auto", []) is None
    last = save(config, 2, 4)
    assert checkpoint_to_resume(config, "auto", []) == last
    assert checkpoint_to_resume(config, "never", []) is None


def test_a_path_may_name_a_checkpoint_a_folder_of_them_or_a_run(tmp_path: Path) -> None:
    theirs = config_of(tmp_path / "theirs")
    last = save(theirs, 2, 4)
    config = config_of(tmp_path / "run")
    earlier = last.with_name("step-000002")
    assert checkpoint_to_resume(config, str(earlier), []) == earlier
    for named in (last, last.parent, tmp_path / "theirs"):
        assert checkpoint_to_resume(config, str(named), []) == last


def test_paths_are_absolute_since_actors_run_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = config_of(Path("run"))
    save(config, 2)
    for resume in ("auto", "run", "run/checkpoints/step-000002"):
        assert checkpoint_to_resume(config, resume, []) == tmp_path / "run" / "checkpoints" / "step-000002"


def test_a_path_without_a_checkpoint_says_what_may_be_given(tmp_path: Path) -> None:
    config = config_of(tmp_path / "run")
    with pytest.raises(
        ConfigError, match=r"^--resume later: not .*: no such folder; give auto, never, or the path"
    ):
        checkpoint_to_resume(config, "later", [])
    with pytest.raises(ConfigError, match=r"^--resume .*: holds no checkpoint; give the path of one"):
        checkpoint_to_resume(config, str(tmp_path), [])
    assert not (tmp_path / "run").exists()


RANKS = ("learner.ranks=1", "learner.zero_stage=0")


def test_another_number_of_ranks_and_zero_stage_are_named_together_with_the_remedy(tmp_path: Path) -> None:
    save(config_of(tmp_path / "run"), 4)
    with pytest.raises(ConfigError) as caught:
        checkpoint_to_resume(config_of(tmp_path / "run", *RANKS), "auto", [])
    assert str(caught.value) == (
        "--resume auto: checkpoint step-000004 was made with learner.ranks 2, learner.zero_stage 2; "
        "this run has learner.ranks 1, learner.zero_stage 0; set them back, or start another run from weights "
        "that this one exported (run.folder=ANOTHER model.path=FOLDER/model)"
    )


@pytest.mark.parametrize(
    "change",
    [
        "run.seed=1",
        "model.path=other/model",
        "model.dtype=bfloat16",
        "data.train_tasks=10",
        "learner.groups_per_step=8",
        "learner.inner_iterations=1",
        "learner.estimator.mask_pairs=2",
        "learner.estimator.mask_ratio=[0.3, 0.7]",
        "learner.estimator.weighting=normalized",
        "learner.advantage=mean",
        "learner.objective.kl_weight=0",
        "learner.estimator.kind=elbo",
        "learner.optimizer.betas=[0.9, 0.95]",
        "learner.optimizer.weight_decay=0.1",
    ],
)
def test_what_makes_another_run_of_it_is_refused(tmp_path: Path, change: str) -> None:
    save(config_of(tmp_path / "run"), 4)
    with pytest.raises(ConfigError, match=f"this run has {change.split('=')[0]} "):
        checkpoint_to_resume(config_of(tmp_path / "run", change), "auto", [])


@pytest.mark.parametrize(
    "change",
    [
        "run.steps=99",
        "rollout.workers=1",
        "rollout.temperature=1.0",
        "data.held_out_tasks=10",
        "learner.optimizer.learning_rate=1.0e-4",
        "learner.checkpoint_steps=3",
        "learner.keep_checkpoints=5",
        "learner.bucket_mb=1",
        "admission.max_in_flight=99",
        "streams.url=redis://localhost:1/0",
    ],
)
def test_what_only_goes_on_in_another_way_is_not(tmp_path: Path, change: str) -> None:
    last = save(config_of(tmp_path / "run"), 4)
    assert checkpoint_to_resume(config_of(tmp_path / "run", change), "auto", []) == last


def test_the_command_refuses_with_one_line_and_writes_nothing(tmp_path: Path) -> None:
    save(config_of(tmp_path / "run"), 4)
    before = sorted(tmp_path.rglob("*"))
    overrides = [f"run.folder={tmp_path / 'run'}", *RANKS]
    result = CliRunner().invoke(main, ["train", str(RECIPE), *overrides, "--plain", "--resume", "auto"])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: --resume auto: checkpoint step-000004 was made with learner.ranks 2, ")
    assert len(result.stderr.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_section_that_appears_or_goes_is_a_change(tmp_path: Path) -> None:
    save(config_of(tmp_path / "run"), 4)
    with pytest.raises(ConfigError, match=r"with learner\.lora\.alpha None, .*has learner\.lora\.alpha 32, "):
        checkpoint_to_resume(config_of(tmp_path / "run", "learner.lora={}"), "auto", [])


def reseal(checkpoint: Path) -> None:
    """Renew the digests of a checkpoint after a change to its files."""
    (checkpoint / "digests.json").unlink()
    write_share(checkpoint, 0, 1)
    join_shares(checkpoint, 1)


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path / "run")
    last = save(config, 4)
    (last / "state.json").write_text(json.dumps({"version": 4, "updates": 8, "next_index": 16}))
    reseal(last)
    with pytest.raises(ConfigError, match=r"not a usable checkpoint: state\.json lacks '\w+'; another version"):
        checkpoint_to_resume(config, "auto", [])


def test_a_damaged_checkpoint_is_told_of_and_the_one_before_taken(tmp_path: Path) -> None:
    config = config_of(tmp_path / "run")
    last = save(config, 2, 4)
    state = (last / "state.json").read_bytes()
    (last / "state.json").write_bytes(state.replace(b'"next_index": 16', b'"next_index": 18'))
    notes: list[str] = []
    assert checkpoint_to_resume(config, "auto", notes) == last.with_name("step-000002")
    (note,) = notes
    assert note.startswith("checkpoint step-000004 is damaged: state.json has other bytes than were written, ")
    assert note.endswith("; going on from step-000002")
    with pytest.raises(ConfigError, match=r"step-000004: not a usable .*: state.json .*; take .*step-000002$"):
        checkpoint_to_resume(config, str(last), [])


def test_what_changed_since_the_checkpoint_is_told(tmp_path: Path) -> None:
    save(config_of(tmp_path / "run", "streams.url=redis://:secret@host:1/0"), 4)
    changed = ["rollout.group_size=4", "rollout.temperature=1.0", "admission.max_staleness=1"]
    changed += ["learner.optimizer.learning_rate=1.0e-4", "streams.url=redis://:other@host:1/0"]
    notes: list[str] = []
    checkpoint_to_resume(config_of(tmp_path / "run", *changed), "auto", notes)
    assert notes == [
        "settings changed since step-000004: admission.max_staleness 0 -> 1, "
        "learner.optimizer.learning_rate 0.0002 -> 0.0001, rollout.group_size 8 -> 4, "
        "rollout.temperature 1.2 -> 1.0"
    ]
    assert not any("secret" in file.read_text() for file in tmp_path.rglob("*") if file.is_file())
    unchanged: list[str] = []
    checkpoint_to_resume(config_of(tmp_path / "run", "run.epochs=2"), "auto", unchanged)
    assert unchanged == []


@pytest.fixture
def streams(redis_url: str, run_id: str) -> Iterator[Streams]:
    client = connect(redis_url)
    made = Streams(client, f"{run_id}-{time.monotonic_ns()}", StreamsConfig())
    made.create()
    made.publish(PROMPTS, [b"prompt"], counters={"admitted": 20, "checkpointed": 16, "trained": 18}, deadline=1)
    made.publish(TRAJECTORIES, [b"trajectory"], deadline=1)
    yield made
    client.close()


@pytest.mark.parametrize("version", [4, 5])
def test_streams_that_hold_all_a_checkpoint_lacks_are_kept(streams: Streams, tmp_path: Path, version: int) -> None:
    rewind_streams(streams, save(config_of(tmp_path / "run"), version))
    assert streams.depth(PROMPTS) == streams.depth(TRAJECTORIES) == 1
    assert streams.counters()["admitted"] == 20


def test_streams_are_emptied_for_a_checkpoint_whose_next_groups_are_gone(streams: Streams, tmp_path: Path) -> None:
    rewind_streams(streams, save(config_of(tmp_path / "run"), 3))
    streams.create()
    assert streams.depth(PROMPTS) == streams.depth(TRAJECTORIES) == 0
    assert streams.counters() == {}


class DyingLearner:
    """A learner group that dies in the calls that are told to it."""

    def __init__(self, *dies_in: str) -> None:
        self._dies_in = list(dies_in)
        self.calls: list[str] = []

    def export(self, target: Path) -> None:
        self._call("export")

    def restart(self, reason: str, watch: Callable[[], None] | None) -> str:
        if len(self.calls) > 6:
            raise TooManyRestartsError(reason)
        self._call("restart")
        return f"restarted: {reason}"

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self._dies_in and self._dies_in[0] == name:
            self._dies_in.pop(0)
            raise LearnerDiedError(f"died in {name} {len(self.calls)}")


def test_a_rank_that_dies_over_the_export_is_restarted_for_it(tmp_path: Path) -> None:
    notes: list[str] = []
    learner: Any = DyingLearner("export", "restart", "export")
    export_model(learner, tmp_path / "model", notes.append)
    assert learner.calls == ["export", "restart", "restart", "export", "restart", "export"]
    assert notes == ["restarted: died in restart 2", "restarted: died in export 4"]
    hopeless: Any = DyingLearner(*["export"] * 9)
    with pytest.raises(TooManyRestartsError, match="died in export"):
        export_model(hopeless, tmp_path / "model", notes.append)
