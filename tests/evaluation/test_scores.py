"""pass@k over a grid, worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from statistics import fmean

import pytest

from common.records import Sampler
from evaluation.evalplus import evalplus_scores
from evaluation.samples import Sample
from evaluation.scores import Evaluated, best_temperatures, cell_scores, seed_means
from evaluation.settings import CausalSampler, Cell
from evaluation.summary import summarise

#: By temperature and seed, and by task: which of its two samples passed; None is a sample without a verdict.
VERDICTS: dict[tuple[float, int], list[list[bool | None]]] = {
    (0.2, 0): [[True, True], [False, False], [False, False], [True, False]],
    (0.2, 1): [[True, True], [True, False], [False, False], [True, True]],
    (0.4, 0): [[True, False], [True, False], [False, True], [False, False]],
    (0.4, 1): [[True, False], [False, True], [True, False], [False, True]],
}


def cell(temperature: float, seed: int) -> Cell:
    return Cell.of("plain", Sampler(temperature=temperature, denoising_steps=8, completion_length=8), seed)


def sample(cell: Cell, index: int, number: int, passed: bool | None) -> Sample:
    return Sample(
        cell=cell.name, benchmark="sums", task_id=f"t{index}", index=index, sample=number,
        passed=bool(passed), excluded=passed is None, text="", ended=True, forwards=2, token_ids=(1, 2, 3),
        executed_step_map=(0, 1, 1, -1),
    )  # fmt: skip


def evaluated(verdicts: dict[tuple[float, int], list[list[bool | None]]]) -> list[Evaluated]:
    found = []
    for (temperature, seed), tasks in verdicts.items():
        where = cell(temperature, seed)
        samples = [sample(where, i, j, one) for i, group in enumerate(tasks) for j, one in enumerate(group)]
        found.append(Evaluated("sums", where, summarise(samples)))
    return found


def test_each_cell_has_the_mean_over_subsets_of_its_samples() -> None:
    scores = cell_scores(evaluated(VERDICTS), (1, 2))
    assert [one.cell for one in scores] == [f"plain,T{t},steps8,seed{s}" for t, s in VERDICTS]
    for score, tasks in zip(scores, VERDICTS.values(), strict=True):
        for k in (1, 2):
            shares = [fmean(any(subset) for subset in combinations(group, k)) for group in tasks]
            assert score.pass_at[k] == pytest.approx(fmean(shares))
            interval = score.intervals[k]
            assert interval is not None
            assert interval[0] <= fmean(shares) <= interval[1]
        assert (score.tasks, score.samples, score.tokens, score.forwards) == (4, 8, 24, 16)
        assert score.tokens_per_forward == 1.5


def test_the_seeds_have_a_mean_and_a_deviation() -> None:
    """At T 0.2 pass@1 is 3/8 and 5/8 and pass@2 1/2 and 3/4; at 0.4 it is 3/8 and 1/2, and 3/4 and 1."""
    cold, warm = seed_means(evaluated(VERDICTS), (1, 2))
    assert (cold.temperature, cold.seeds, warm.temperature, warm.seeds) == (0.2, (0, 1), 0.4, (0, 1))
    assert cold.pass_at == pytest.approx({1: 1 / 2, 2: 5 / 8})
    assert warm.pass_at == pytest.approx({1: 7 / 16, 2: 7 / 8})
    assert cold.deviations == pytest.approx({1: 0.25 / 2**0.5, 2: 0.25 / 2**0.5})
    assert warm.deviations == pytest.approx({1: 0.125 / 2**0.5, 2: 0.25 / 2**0.5})


def test_each_k_has_a_best_temperature_of_its_own() -> None:
    (best,) = best_temperatures(evaluated(VERDICTS), (1, 2))
    assert (best.temperatures, best.seeds) == ((0.2, 0.4), (0, 1))
    assert best.chosen == {1: 0.2, 2: 0.4}
    assert best.pass_at == pytest.approx({1: 1 / 2, 2: 7 / 8})


def test_equal_temperatures_leave_the_lowest() -> None:
    same = {(0.4, 0): VERDICTS[0.2, 0], (0.2, 0): VERDICTS[0.2, 0]}
    (best,) = best_temperatures(evaluated(same), (1,))
    assert best.chosen == {1: 0.2}


def test_one_seed_and_one_temperature_are_neither_averaged_nor_chosen_from() -> None:
    alone = evaluated({(0.2, 0): VERDICTS[0.2, 0]})
    assert seed_means(alone, (1,)) == []
    assert best_temperatures(alone, (1,)) == []


def test_a_sample_without_a_verdict_counts_nowhere() -> None:
    """The second task has one sample left, and so no pass@2; the third has none."""
    some = evaluated({(0.2, 0): [[True, False], [True, None], [None, None]]})
    (score,) = cell_scores(some, (1, 2))
    assert score.pass_at == pytest.approx({1: 3 / 4, 2: 1.0})
    assert (score.tasks, score.samples, score.excluded) == (3, 6, 3)
    (nothing,) = cell_scores(evaluated({(0.2, 0): [[None, None]]}), (1,))
    assert (nothing.pass_at, nothing.intervals) == ({1: None}, {1: None})


def test_temperatures_are_compared_on_the_tasks_that_both_have() -> None:
    """The first task would decide for 0.4, but has no verdict at 0.2."""
    some = {(0.2, 0): [[None], [True], [False]], (0.4, 0): [[True], [False], [False]]}
    (best,) = best_temperatures(evaluated(some), (1,))
    assert (best.chosen, best.pass_at) == ({1: 0.2}, {1: 0.5})


def test_a_causal_model_has_no_steps() -> None:
    causal = Cell.of("chat", CausalSampler(temperature=0.3), 2)
    assert causal.name == "chat,T0.3,seed2"
    (score,) = cell_scores([Evaluated("sums", causal, summarise([sample(causal, 0, 0, True)]))], (1,))
    assert score.denoising_steps is None


def test_evalplus_is_the_mean_of_two_benchmarks_in_the_same_cells() -> None:
    """HumanEval+ has 4 tasks and MBPP+ 2; at T 0.2 their pass@1 is 1/2 and 3/4, over two seeds."""
    other = {(0.2, 0): [[True, True], [True, False]], (0.2, 1): [[True, False], [True, True]]}
    both = [*evaluated(VERDICTS), *(replace(one, benchmark="mbpp") for one in evaluated(other))]
    (score,) = evalplus_scores(both, {"sums": "humaneval+", "mbpp": "mbpp+"}, (1, 2))
    assert (score.benchmark, score.temperature, score.seeds) == ("sums, mbpp", 0.2, (0, 1))
    assert score.pass_at == pytest.approx({1: (1 / 2 + 3 / 4) / 2, 2: (5 / 8 + 1) / 2})
    assert evalplus_scores(both, {"sums": "humaneval+", "mbpp": "mbpp"}, (1,)) == []


def test_one_task_has_no_interval() -> None:
    of_one = evaluated({where: tasks[:1] for where, tasks in VERDICTS.items()})
    for score in (*cell_scores(of_one, (1,)), *seed_means(of_one, (1,)), *best_temperatures(of_one, (1,))):
        assert score.pass_at[1] is not None
        assert score.intervals == {1: None}
