"""A seeded generator of small distinct programming tasks, and of noisy solutions to warm a model up on."""

from learner.warm_start.synthetic.generator import SyntheticTask, SyntheticTasks, generate
from learner.warm_start.synthetic.noise import noisy_solution, random_bug
from learner.warm_start.synthetic.rates import CorpusRates, corpus_rates, passes

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
