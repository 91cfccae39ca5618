"""What an analysis measures of a folder, beside plain loops over its samples."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import fmean

import pytest

from common.ar_ness import decode_order, global_ar_ness, local_ar_ness, never_committed
from common.errors import UserError
from evaluation.analysis.choices import choose_temperature, compare_steps
from evaluation.analysis.estimates import estimate
from evaluation.analysis.order import average_first_passage, kendall_tau
from evaluation.analysis.program import check_task, program_of, same_task
from evaluation.analysis.recorded import Setting, read_evaluation
from evaluation.analysis.side import Side, Topic, pass_ks
from evaluation.samples import Sample
from tests.evaluation.recorded_evaluations import LENGTH, make_evaluation

SUMS = Topic("sums", "plain")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_evaluation(tmp_path_factory.mktemp("evaluation") / "model", seeds=(0, 1), samples=2)


@pytest.fixture(scope="module")
def side(folder: Path) -> Side:
    return Side.of(read_evaluation(folder, "model"), (1, 3))


def samples_at(folder: Path, temperature: float, steps: int) -> list[Sample]:
    lines = (folder / "samples.jsonl").read_text().splitlines()
    found = [Sample.model_validate_json(line) for line in lines]
    cells = read_evaluation(folder, "model").cells
    return [one for one in found if Setting.of(cells[one.cell]) == Setting("plain", temperature, steps)]


def over_tasks(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """The mean over tasks of the mean over their samples."""
    by_task = defaultdict(list)
    for one in samples:
        by_task[one.index].append(value(one))
    return fmean(map(fmean, by_task.values()))


def local(k: int, of: str, sample: Sample) -> float:
    return local_ar_ness(decode_order(getattr(sample, of)), k)


def left_most(k: int, of: str, sample: Sample) -> float:
    return global_ar_ness(decode_order(getattr(sample, of)), k, never_committed(getattr(sample, of)))


def test_measures_are_means_over_the_tasks_with_the_samples_of_all_seeds(folder: Path, side: Side) -> None:
    samples = samples_at(folder, 0.6, 8)
    (one,) = (one for one in side.measured if one.setting == Setting("plain", 0.6, 8))
    assert one.samples == len(samples) == 5 * 2 * 2

    def shown(name: str) -> float:
        found = estimate(one.by_task(name))
        assert found is not None
        return found.value

    for k in (1, 3):
        assert shown(f"local@{k}") == pytest.approx(over_tasks(samples, partial(local, k, "step_map")))
        assert shown(f"global@{k}") == pytest.approx(over_tasks(samples, partial(left_most, k, "step_map")))
        of_all = partial(left_most, k, "executed_step_map")
        assert shown(f"executed_global@{k}") == pytest.approx(over_tasks(samples, of_all))
    assert shown("tau") == pytest.approx(over_tasks(samples, lambda s: kendall_tau(s.step_map) or 0.0))
    assert shown("executed_first_passage") == pytest.approx(
        over_tasks(samples, lambda s: average_first_passage(s.executed_step_map) or 0.0)
    )
    failed = [s for s in samples if not s.passed]
    assert shown("log_confidence_variance_failed") == pytest.approx(
        over_tasks(failed, lambda s: s.confidence.variance if s.confidence else 0.0)
    )
    assert one.tokens_per_forward == sum(len(s.token_ids) for s in samples) / sum(s.forwards for s in samples)
    last = [s for s in samples if s.executed_step_map[LENGTH - 1] >= 0]
    assert one.committed[LENGTH - 1, 0] == len(last) > 0
    # It is the first of all, and shares its step with one more.
    assert one.committed[LENGTH - 1, 1] / len(last) == pytest.approx(
        fmean(1 / len({step for step in s.executed_step_map if step >= 0}) for s in last)
    )


def test_pass_at_k_is_that_of_all_subsets(folder: Path, side: Side) -> None:
    (one,) = (one for one in side.measured if one.setting == Setting("plain", 1.0, 4))
    assert pass_ks([one]) == (1, 4)
    verdicts = defaultdict(list)
    for sample in samples_at(folder, 1.0, 4):
        verdicts[sample.index].append(sample.passed)
    for k in (1, 2, 4):
        wanted = {index: fmean(any(some) for some in combinations(of, k)) for index, of in verdicts.items()}
        assert one.pass_at(k) == pytest.approx(wanted)


def test_the_best_temperature_and_the_loss_by_steps(side: Side) -> None:
    measured = side.by_temperature(SUMS)
    assert [one.setting.temperature for one in measured] == [0.2, 0.6, 1.0]
    assert {one.setting.steps for one in measured} == {16}
    choice = choose_temperature(measured, 1)
    assert choice is not None
    rates = [fmean(one.pass_at(1).values()) for one in measured]
    assert [row.rate.value for row in choice.rows] == pytest.approx(rates)
    assert choice.best.temperature == measured[rates.index(max(rates))].setting.temperature
    assert sum(row.share_best for row in choice.rows) == pytest.approx(1)
    rows = compare_steps(side.by_steps(SUMS)[0.2], 1)
    assert [row.steps for row in rows] == [16, 8, 4]
    assert rows[0].loss is None
    for row in rows[1:]:
        assert row.loss is not None
        assert row.loss.value == pytest.approx(rows[0].rate.value - row.rate.value)


def test_excluded_samples_have_an_order_and_no_verdict(tmp_path: Path) -> None:
    folder = make_evaluation(tmp_path / "model", temperatures=[0.2], steps=[16], samples=1, tasks=2)
    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    lines[0] |= {"excluded": True, "passed": False}
    lines[1] |= {"passed": True}
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"torn')
    (one,) = Side.of(read_evaluation(folder, "model"), (1,)).measured
    assert (one.samples, one.excluded, one.pass_at(1)) == (2, 1, {1: 1.0})
    assert set(one.by_task("tau")) == {0, 1}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: (folder / "samples.jsonl").unlink(), "no folder of `couplet evaluate`"),
        (lambda folder: (folder / "settings.json").write_text('{"settings": {}}'), "cannot be read"),
        (lambda folder: (folder / "confidence.json").write_text("[]"), "cannot be read"),
        (lambda folder: (folder / "samples.jsonl").write_text('{"cell": 3}\n'), "line 1: is no record"),
        (lambda folder: (folder / "samples.jsonl").write_text(""), "has no sample yet"),
        (
            lambda folder: (folder / "samples.jsonl").write_text(
                (folder / "samples.jsonl").read_text().replace("plain,T0.2", "plain,T9", 1)
            ),
            "has no cell 'plain,T9",
        ),
    ],
)
def test_a_damaged_folder_is_refused_in_words(tmp_path: Path, change: Callable[[Path], object], says: str) -> None:
    folder = make_evaluation(tmp_path / "model", temperatures=[0.2], steps=[16], samples=1)
    change(folder)
    with pytest.raises(UserError, match=says):
        Side.of(read_evaluation(folder, "model"), (1,))


def test_a_program_has_the_steps_of_all_positions(folder: Path) -> None:
    sample = samples_at(folder, 0.2, 16)[0].model_copy(
        update={"executed_step_map": (4, 9, -1, 9, 0), "token_ids": (7, 8)}
    )

    class Tokenizer:
        def decode(self, ids: list[int]) -> str:
            return f"<{ids[0]}>"

    found = program_of(sample, "model", Tokenizer())
    assert found.positions == (2, 3, 0, 3, 1)
    assert found.tokens == (("<7>", 2), ("<8>", 3))
    assert (found.steps, program_of(sample, "model", None).tokens) == (3, ())


def test_the_program_is_of_a_task_that_both_have_and_pass(side: Side) -> None:
    some = dict(side.examples[SUMS])
    passing = {index: one.model_copy(update={"passed": index == 3}) for index, one in some.items()}
    without = {index: one for index, one in some.items() if index != 0}
    assert same_task([passing], None) == 3
    assert same_task([{i: s.model_copy(update={"passed": False}) for i, s in some.items()}, without], None) == 1
    assert same_task([some], "task/4") == 4
    assert same_task([{}], None) is None
    assert same_task([passing], "of another benchmark") == 3
    check_task([{}, some], "task/4")
    with pytest.raises(UserError, match=r"--task nonsense: .* task/0"):
        check_task([{}, some], "nonsense")
