"""The tasks of an evaluation, and how a template puts them to a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.models.prompts import PromptEncoder
from common.records import NoiseKey, Purpose, Task
from common.tasks.questions import posed
from evaluation.completers.interface import Completed
from evaluation.templates import Template
from rollout_workers.requests import Request

#: A run numbers its evaluations by the version of the weights; these are those that it starts with.
_EVALUATION = 0


@dataclass(frozen=True)
class Benchmark:
    """Tasks that are reported together; ``source`` is what they were read from."""

    name: str
    source: str
    tasks: tuple[Task, ...]

    @property
    def family(self) -> str:
        """The family that all of its tasks are of; empty where there is none."""
        families = {task.family for task in self.tasks}
        return families.pop() if len(families) == 1 else ""


@dataclass(frozen=True)
class AskedBenchmark:
    """A benchmark as a template puts it to a model: its tasks as they are asked, and what the model reads."""

    name: str
    template: Template
    encoder: PromptEncoder
    tasks: tuple[Task, ...]
    prompts: tuple[tuple[int, ...], ...]

    def requests(self, seed: int, samples: int) -> list[Request]:
        """Return the completions that are asked for, keyed as a run's evaluation keys them."""
        purpose = f"noise-{Purpose.EVALUATION}"
        return [
            Request(prompt, NoiseKey(seed, purpose, (_EVALUATION, index, sample)))
            for index, prompt in enumerate(self.prompts)
            for sample in range(samples)
        ]

    def answers(self, index: int, group: Sequence[Completed]) -> list[str]:
        """Return the whole answers of completions of task ``index``, each up to what stops it."""
        begun = self.encoder.answer_prefix(self.tasks[index])
        return [begun + self._stopped(self.encoder.decode(done.text_ids)) for done in group]

    def _stopped(self, written: str) -> str:
        ends = [place for stop in self.template.stop if (place := written.find(stop)) >= 0]
        return written[: min(ends, default=len(written))]


def ask(benchmark: Benchmark, template: Template, encoder: PromptEncoder) -> AskedBenchmark:
    """Put the tasks of a benchmark as a template does; ``encoder`` is that of its prompts."""
    tasks = tuple(posed(task, template.prompts) for task in benchmark.tasks)
    return AskedBenchmark(benchmark.name, template, encoder, tasks, tuple(encoder.encode(task) for task in tasks))
