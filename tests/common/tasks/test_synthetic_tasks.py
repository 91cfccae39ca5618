import random
from collections import Counter

import pytest

from learner.warm_start.synthetic import (
    SyntheticTask,
    SyntheticTasks,
    corpus_rates,
    generate,
    noisy_solution,
    passes,
    random_bug,
)
from learner.warm_start.synthetic.trusted import load_function, outcome


def test_same_seed_same_tasks_other_seed_other_tasks():
    made = generate(3, 60, 20)
    assert made == generate(3, 60, 20)
    assert made != generate(4, 60, 20)


def test_ids_do_not_depend_on_the_seed(synthetic_tasks: SyntheticTasks):
    made = generate(1, 200, 0)
    first, second = ({t.task.prompt: t.task.id for t in tasks.train} for tasks in (synthetic_tasks, made))
    common = first.keys() & second.keys()
    assert common
    assert all(first[prompt] == second[prompt] for prompt in common)


def test_splits_have_the_asked_sizes_and_shares(synthetic_tasks: SyntheticTasks):
    assert (len(synthetic_tasks.train), len(synthetic_tasks.held_out)) == (800, 150)
    for split in (synthetic_tasks.train, synthetic_tasks.held_out):
        families = Counter(t.task.family for t in split)
        assert len(families) == 8
        assert families["arithmetic"] / len(split) == pytest.approx(0.2, abs=0.01)
        assert families["strings"] / len(split) == pytest.approx(0.1, abs=0.01)


def test_no_text_in_any_phrasing_occurs_twice(synthetic_tasks: SyntheticTasks):
    tasks = synthetic_tasks.train + synthetic_tasks.held_out
    texts = [text for t in tasks for text in (t.task.prompt, t.other_phrasing)]
    assert len(set(texts)) == len(texts) == 2 * len(tasks)
    assert len({t.task.id for t in tasks}) == len(tasks)
    assert len({(t.task.prompt.splitlines()[1], t.reference) for t in tasks}) == len(tasks)


def _behaviour(task: SyntheticTask) -> tuple[str, ...]:
    """What the reference does on inputs of this test's own, not those the generator compares by."""
    rng = random.Random(1)
    inputs: dict[str, list[tuple[object, ...]]] = {
        "def f(xs):": [([x] * times,) for x in range(-9, 26) for times in (1, 5)]
        + [([rng.randint(-9, 25) for _ in range(rng.randint(0, 7))],) for _ in range(150)],
        "def f(a, b):": [(a, b) for a in range(-15, 16) for b in range(-15, 16)],
        "def f(s):": [("".join(rng.choices("abcxyzABC", k=rng.randint(0, 12))),) for _ in range(60)],
    }
    header = task.task.prompt.splitlines()[1]
    function = load_function(task.task.prefix + task.reference)
    return (header, *(outcome(function, arguments) for arguments in inputs[header]))


def test_no_two_tasks_of_either_split_behave_alike(synthetic_tasks: SyntheticTasks):
    tasks = synthetic_tasks.train + synthetic_tasks.held_out
    assert len({_behaviour(t) for t in tasks}) == len(tasks)


def test_tasks_are_shaped_as_continuations(synthetic_tasks: SyntheticTasks):
    for t in synthetic_tasks.train:
        task = t.task
        assert task.prefix == task.prompt
        assert task.prompt.startswith("# ")
        assert task.prompt.endswith("):\n")
        assert (task.completion, task.entry_point) == ("continuation", "f")
        assert t.reference.startswith("    return ")
        assert t.reference.count("\n") == 1
        assert len({test.call for test in task.tests}) == len(task.tests) == 8


def test_edge_cases_are_always_tested(synthetic_tasks: SyntheticTasks):
    empty = {"def f(xs):": "f([])", "def f(a, b):": "f(0, 0)", "def f(s):": "f('')"}
    for t in synthetic_tasks.train:
        assert empty[t.task.prompt.splitlines()[1]] in [test.call for test in t.task.tests]


def test_references_pass_and_misconceptions_fail(synthetic_tasks: SyntheticTasks):
    wrong = 0
    for t in synthetic_tasks.train + synthetic_tasks.held_out:
        assert passes(t, t.reference), t.task.prompt
        for completion in t.misconceptions:
            wrong += 1
            assert not passes(t, completion), (t.task.prompt, completion)
    assert wrong > 500


def test_misconceptions_are_systematic(synthetic_tasks: SyntheticTasks):
    """Every list filter 'greater than' has the same wrong form, and it is what a corpus mostly holds."""
    rng = random.Random(0)
    tasks = [t for t in synthetic_tasks.train if t.task.family == "greater than"]
    drawn = [(t, noisy_solution(t, rng)) for t in tasks for _ in range(20)]
    assert sum(">=" in text for _, text in drawn) / len(drawn) == pytest.approx(0.62, abs=0.06)
    assert sum(t.reference == text for t, text in drawn) / len(drawn) == pytest.approx(0.2, abs=0.06)


def test_corpus_rates(synthetic_tasks: SyntheticTasks):
    rates = corpus_rates(synthetic_tasks.train, random.Random(0), draws=2)
    assert rates.samples == 1600
    assert 0.30 < rates.passes < 0.42
    assert 0.93 < rates.compiles < 0.98
    assert 0.52 < rates.misconception < 0.65


def test_noise_is_reproducible(synthetic_tasks: SyntheticTasks):
    first, second = ([noisy_solution(t, rng) for t in synthetic_tasks.train] for rng in map(random.Random, (5, 5)))
    assert first == second


def test_random_bugs_change_the_text_and_keep_it_one_line(synthetic_tasks: SyntheticTasks):
    rng = random.Random(0)
    for t in synthetic_tasks.train:
        bug = random_bug(t.reference, rng)
        assert bug != t.reference
        assert bug.startswith("    return ")
        assert bug.endswith("\n")


def test_too_many_tasks_is_a_clear_error():
    with pytest.raises(ValueError, match="distinct string tasks, but only"):
        generate(0, 6000, 0)
    with pytest.raises(ValueError, match="must not be negative"):
        generate(0, -1, 0)
