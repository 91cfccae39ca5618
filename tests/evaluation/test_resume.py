"""An evaluation that is stopped anywhere goes on to the same results, byte by byte."""

from __future__ import annotations

import errno
import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from common.config import ModelSection, RewardConfig
from common.errors import UserError
from common.records import Task, TestCase
from evaluation.batches import CompletedBatch
from evaluation.benchmark import AskedBenchmark, Benchmark, ask
from evaluation.completers.interface import Completer, Loading
from evaluation.folder import EvaluationFolder
from evaluation.harness import Harness
from evaluation.samples import Sample
from evaluation.settings import CausalSampler, Cell, EvaluationSettings
from evaluation.subject import Subject
from evaluation.templates import template
from reward_service.scoring_pool import ScoringPool
from tests.learner.causal_folders import causal_folder

SAMPLES = 3
CELLS = tuple(
    Cell.of("plain", CausalSampler(temperature=t, completion_length=6), seed)
    for t in (0.7, 1.0)
    for seed in (0, 1)
)
FACTS: dict[str, Any] = {"settings": {"samples": SAMPLES}, "versions": {"torch": "1"}}


class Stopped(Exception):  # noqa: N818
    """The evaluation is killed here."""


class Nobody:
    """Watches nothing."""

    def begin(self, benchmark: str, cell: str, completed: int, scored: int) -> None: ...

    def stepped(self, finished: int) -> None: ...

    def scored(self, samples: Sequence[Sample]) -> None: ...


class Evaluation:
    """A tiny causal model, which transformers runs, and its tasks."""

    def __init__(self, model: Path, pool: ScoringPool) -> None:
        subject = Subject.read(str(model), "transformers")
        self.settings = EvaluationSettings(
            engine="transformers",
            model=ModelSection(path=str(model), threads=1, device="cpu"),
            templates=(template("plain"),),
            cells=CELLS,
            samples=SAMPLES,
        )
        tests = (TestCase(call="len(f(1))", expected="2"),)
        tasks = tuple(Task(id=f"t{n}", prompt=f"x{n}", prefix="f = str\n#", tests=tests) for n in range(5))
        encoder = subject.encoder(template("plain").prompts)
        self.asked: AskedBenchmark = ask(Benchmark("any", "any", tasks), template("plain"), encoder)
        self.completer: Completer = subject.load(self.settings, 64, Loading())
        self._pool = pool

    def close(self) -> None:
        self.completer.close()

    def go_on(self, path: Path, check: Callable[[], None] = lambda: None) -> None:
        folder = EvaluationFolder(path)
        with folder.begun(FACTS):
            harness = Harness(SAMPLES, self.completer, self._pool, folder, check)
            for cell in CELLS:
                harness.run(self.asked, cell, Nobody())
            folder.finish()
            folder.put_in_order([("any", cell.name) for cell in CELLS])


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluation]:
    model = tmp_path_factory.mktemp("causal")
    causal_folder(model)
    config = RewardConfig(tests="all_or_nothing", sandbox_slots=1, sandbox_level="uid")
    with ScoringPool(config) as pool, closing(Evaluation(model, pool)) as found:
        yield found


@pytest.fixture(scope="module")
def undisturbed(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("undisturbed")
    evaluation.go_on(path)
    return path


def after(calls: int) -> Callable[[], None]:
    """Return what stops an evaluation when it is called for that many times."""
    left = iter(range(calls))

    def check() -> None:
        if next(left, None) is None:
            raise Stopped

    return check


def results(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if file.name != "times.json"}


@pytest.mark.parametrize("seed", range(2))
def test_results_are_the_same_however_often_it_is_stopped(
    evaluation: Evaluation, undisturbed: Path, tmp_path: Path, seed: int
) -> None:
    """Whatever of its last line a killed process wrote is torn off, from none to all of it."""
    chance = random.Random(seed)
    stops = 0
    while True:
        try:
            evaluation.go_on(tmp_path, after(chance.randrange(50)))
            break
        except Stopped:
            stops += 1
            (tmp_path / ".summary.json.1.tmp").write_text("half a file")
        for name in ("samples.jsonl", "batches.jsonl"):
            tear(tmp_path / name, chance)
    assert stops > 1
    assert results(tmp_path) == results(undisturbed)
    assert set(results(tmp_path)) == {"settings.json", "samples.jsonl"}


def tear(path: Path, chance: random.Random) -> None:
    if path.exists() and path.stat().st_size:
        whole = path.read_bytes()
        last = whole[:-1].rfind(b"\n") + 1
        path.write_bytes(whole[: chance.randint(last, len(whole))])


def test_what_is_done_is_not_done_again(evaluation: Evaluation, tmp_path: Path) -> None:
    before = b""
    for _ in range(2):
        with pytest.raises(Stopped):
            evaluation.go_on(tmp_path, after(20))
        samples = (tmp_path / "samples.jsonl").read_bytes()
        assert samples.startswith(before)
        assert len(samples) > len(before)
        before = samples
    lines = (tmp_path / "batches.jsonl").read_text().splitlines()
    batches = [(batch["cell"], batch["number"]) for batch in map(json.loads, lines)]
    assert len(batches) == len(set(batches)) >= 20


def test_what_the_sandbox_failed_on_is_scored_again_but_not_completed_again(
    evaluation: Evaluation, undisturbed: Path, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        evaluation.go_on(tmp_path, after(40))
    first, *others = EvaluationFolder(tmp_path).samples()
    failed = first.model_copy(update={"excluded": True, "passed": False})
    (tmp_path / "samples.jsonl").write_text("".join(f"{one.model_dump_json()}\n" for one in (*others, failed)))
    before = (tmp_path / "batches.jsonl").read_bytes()
    with pytest.raises(Stopped):
        evaluation.go_on(tmp_path, after(5))
    assert (tmp_path / "batches.jsonl").read_bytes().startswith(before)
    evaluation.go_on(tmp_path)
    assert results(tmp_path) == results(undisturbed)


def test_batches_stay_while_the_sandbox_has_failed_on_a_sample(tmp_path: Path) -> None:
    folder = EvaluationFolder(tmp_path)
    sample = Sample(
        cell="c", benchmark="b", task_id="t", index=0, sample=0, passed=False, excluded=True, text="", ended=True,
        forwards=1, token_ids=(1,), executed_step_map=(0,),
    )  # fmt: skip
    with folder.begun(FACTS):
        folder.record(CompletedBatch(benchmark="b", cell="c", number=0, seconds=1.5, completions=()))
        folder.append([sample])
        folder.finish()
    with folder.begun(FACTS):
        assert list(folder.samples()) == []
        assert [batch.number for batch in folder.batches("b", "c")] == [0]
        folder.append([sample.model_copy(update={"excluded": False})])
        folder.finish()
    assert list(folder.batches("b", "c")) == []
    assert EvaluationFolder(tmp_path).seconds() == {("b", "c"): 1.5}


def test_samples_are_in_order_and_each_is_there_once(undisturbed: Path) -> None:
    samples = list(EvaluationFolder(undisturbed).samples())
    wanted = [(cell.name, i, j) for cell in CELLS for i in range(5) for j in range(SAMPLES)]
    assert [(one.cell, one.index, one.sample) for one in samples] == wanted
    assert len({one.text for one in samples}) > 20


def test_other_facts_are_refused_and_named(undisturbed: Path) -> None:
    before = results(undisturbed)
    other = {"settings": {"samples": 4}, "versions": {"torch": "1", "vllm": "0"}, "limit": None}
    with pytest.raises(UserError) as caught, EvaluationFolder(undisturbed).begun(other):
        pass
    assert 'settings.samples is 3 there and 4 here; versions.vllm is null there and "0" here' in str(caught.value)
    assert results(undisturbed) == before


def begin_elsewhere(path: Path) -> int:
    """Begin the same evaluation in another process; return 1 where that is refused."""
    child = os.fork()
    if child == 0:
        try:
            with EvaluationFolder(path).begun(FACTS):
                os._exit(0)
        except UserError as error:
            os._exit(1 if "another process evaluates there" in str(error) else 2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_one_process_at_a_time_evaluates_into_a_folder(tmp_path: Path) -> None:
    with EvaluationFolder(tmp_path).begun(FACTS):
        assert begin_elsewhere(tmp_path) == 1
    assert begin_elsewhere(tmp_path) == 0


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("settings.json", b"[" * 100_000, "is of no evaluation"),
        ("samples.jsonl", b"\0\0\n", "samples.jsonl, line 1: is no record"),
        ("samples.jsonl", b"{}\n", "samples.jsonl, line 1: is no record of this version of Couplet: cell: "),
        ("batches.jsonl", b"\xff\n", "batches.jsonl, line 1: is no record"),
        ("times.json", b"{}", "times.json: has no times"),
    ],
)
def test_a_damaged_folder_is_one_error_that_names_the_file(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    with EvaluationFolder(tmp_path).begun(FACTS):
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message), EvaluationFolder(tmp_path).begun(FACTS):
        pass


def fill_disk(folder: EvaluationFolder, kept: Sequence[Sample]) -> None:
    """Keep samples, and half of one more."""
    with folder.begun(FACTS):
        try:
            folder.append(kept)
            with (folder.path / "samples.jsonl").open("a") as file:
                file.write('{"cell": "half of a li')
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            folder.put_in_order([("any", cell.name) for cell in CELLS])


def test_a_full_disk_is_one_error_and_what_was_kept_is_put_in_order(
    evaluation: Evaluation, undisturbed: Path, tmp_path: Path
) -> None:
    folder = EvaluationFolder(tmp_path)
    kept = list(EvaluationFolder(undisturbed).samples())[:3]
    with pytest.raises(UserError, match="a disk is full"):
        fill_disk(folder, kept[::-1])
    assert list(folder.samples()) == kept
    evaluation.go_on(tmp_path)
    assert results(tmp_path) == results(undisturbed)


def test_a_cell_that_differs_is_named_by_what_it_combines(tmp_path: Path) -> None:
    there, here = ({"settings": {"cells": [{"name": f"seed{seed}", "seed": seed}]}} for seed in (0, 3))
    with EvaluationFolder(tmp_path).begun(there):
        pass
    with pytest.raises(UserError, match=r"other settings: settings\.cells\.0\.seed is 0 there and 3 here\. Give"):
        EvaluationFolder(tmp_path).check(here)
