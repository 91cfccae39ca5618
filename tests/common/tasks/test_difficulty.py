from __future__ import annotations

import random
import statistics
from pathlib import Path

import pytest

from common.tasks.difficulty import MODELS, SPLITS, Thresholds, split_by_difficulty
from common.tasks.rows import TaskFileError, TaskRow


def row(number: int, inferences: object) -> TaskRow:
    return TaskRow(Path("ace.jsonl"), number, {"id": f"ace_{number}", "inferences": inferences})


def made_up(count: int, seed: int) -> list[TaskRow]:
    rng = random.Random(seed)
    names = [*MODELS, "someone_else"]
    return [
        row(
            number,
            [{"model_name": MODELS[0], "pass_rate": rng.randrange(9) / 8}]
            + [{"model_name": rng.choice(names), "pass_rate": rng.randrange(9) / 8} for _ in range(7)],
        )
        for number in range(1, count + 1)
    ]


def percentile(values: list[float], percent: float) -> float:
    """Linear between the two nearest ranks."""
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


@pytest.mark.parametrize(("count", "seed"), [(1, 0), (2, 1), (57, 2), (400, 3)])
@pytest.mark.parametrize(("mean_percentile", "std_percentile"), [(20, 40), (33.3, 12.5), (100, 0)])
def test_it_keeps_what_a_naive_selection_keeps(
    count: int, seed: int, mean_percentile: float, std_percentile: float
) -> None:
    rows = made_up(count, seed)
    rates = [[i["pass_rate"] for i in r.fields["inferences"] if i["model_name"] in MODELS] for r in rows]
    means, deviations = [statistics.mean(r) for r in rates], [statistics.pstdev(r) for r in rates]
    mean_at_most = percentile(means, mean_percentile)
    std_at_least = percentile(deviations, std_percentile)
    slack = 1e-9  # of the oracle's own rounding; no made-up row is that near without being on the threshold
    expected = [
        r.number
        for r, mean, deviation in zip(rows, means, deviations, strict=True)
        if mean <= mean_at_most + slack and deviation >= std_at_least - slack
    ]
    split = split_by_difficulty(rows, Thresholds(mean_to=mean_percentile, std_from=std_percentile))
    assert [r.number for r in split.kept] == expected
    assert split.mean_at_most == pytest.approx(mean_at_most)
    assert split.std_at_least == pytest.approx(std_at_least)
    assert split.mean_at_least is None
    assert split.rows == count == split.too_easy + split.too_even + len(split.kept)


def test_the_splits_of_the_released_script_by_a_loop() -> None:
    rows = made_up(300, 5)
    means = [
        statistics.mean(i["pass_rate"] for i in r.fields["inferences"] if i["model_name"] in MODELS) for r in rows
    ]
    low, high = percentile(means, 25), percentile(means, 75)
    for name, lowest, highest in (("medium", low, high), ("easy", high, 1.0), ("all", 0.0, 1.0)):
        split = split_by_difficulty(rows, SPLITS[name])
        kept = [r.number for r, mean in zip(rows, means, strict=True) if lowest - 1e-9 <= mean <= highest + 1e-9]
        assert [r.number for r in split.kept] == kept
        assert split.rows == 300 == split.too_hard + split.too_easy + split.too_even + len(kept)
    # Bounds of their own, each beside the others.
    split = split_by_difficulty(rows, Thresholds(mean_from=30, mean_to=60, std_from=50))
    assert min(split.too_hard, split.too_easy, split.too_even, len(split.kept)) > 0
    assert split.rows == split.too_hard + split.too_easy + split.too_even + len(split.kept)


def test_all_rows_need_no_pass_rates() -> None:
    assert split_by_difficulty([row(1, None)], SPLITS["all"]).kept == (row(1, None),)


def test_only_the_named_models_count() -> None:
    rows = made_up(50, 4)
    others = [
        TaskRow(
            r.path,
            r.number,
            {**r.fields, "inferences": [*r.fields["inferences"], {"model_name": "x", "pass_rate": 1}]},
        )
        for r in rows
    ]
    hard = SPLITS["hard"]
    kept = [[r.number for r in split_by_difficulty(given, hard).kept] for given in (others, rows)]
    assert kept[0] == kept[1]
    assert split_by_difficulty(others, hard, models=("x",)).mean_at_most == 1


@pytest.mark.parametrize(
    ("inferences", "message"),
    [
        (None, "line 2, field inferences: is missing or no list"),
        ([], "line 2, field inferences: is missing or no list"),
        ([3], "field inferences.0.model_name: is missing"),
        ([{"model_name": MODELS[0]}], "field inferences.0.pass_rate: is no number"),
        ([{"model_name": MODELS[0], "pass_rate": 1.5}], "field inferences.0.pass_rate: is no number"),
        ([{"model_name": MODELS[0], "pass_rate": True}], "field inferences.0.pass_rate: is no number"),
        ([{"model_name": "y", "pass_rate": 1}], "inferences: has none by qwen_coder_2.5, llama3_instruct; .* y"),
    ],
)
def test_rows_without_pass_rates_are_named(inferences: object, message: str) -> None:
    with pytest.raises(TaskFileError, match=message):
        split_by_difficulty([*made_up(1, 0), row(2, inferences)], SPLITS["hard"])
