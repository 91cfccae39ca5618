"""A seeded generator of small distinct programming tasks, and of noisy solutions to warm a model up on."""

from common.tasks.synthetic.generator import SyntheticTask, SyntheticTasks, generate
from common.tasks.synthetic.noise import noisy_solution, random_bug
from common.tasks.synthetic.rates import CorpusRates, corpus_rates, passes

__all__ = [
    "CorpusRates",
    "SyntheticTask",
    "SyntheticTasks",
    "corpus_rates",
    "generate",
    "noisy_solution",
    "passes",
    "random_bug",
]
