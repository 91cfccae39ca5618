"""One model's evaluation, measured: what is drawn of it, alone or beside another's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from common.errors import UserError
from evaluation.analysis.confidence import FirstSteps
from evaluation.analysis.measures import Measured
from evaluation.analysis.recorded import RecordedEvaluation, Setting
from evaluation.samples import Sample


@dataclass(frozen=True, order=True)
class Topic:
    """What is drawn together: a benchmark, as one template puts it."""

    benchmark: str
    template: str


@dataclass(frozen=True)
class Side:
    """The measures of an evaluation, with AR-ness at every k of ``ks``.

    ``examples`` has, by task, a completion of the first cell of each topic: the first that passed, or the first.
    """

    evaluation: RecordedEvaluation
    ks: tuple[int, ...]
    measured: tuple[Measured, ...]
    examples: Mapping[Topic, Mapping[int, Sample]]

    @classmethod
    def of(
        cls, evaluation: RecordedEvaluation, ks: Sequence[int], read: Callable[[int], None] = lambda size: None
    ) -> Side:
        """Measure the samples of an evaluation; ``read`` hears of bytes that are read.

        Raises UserError for samples that cannot be read, and where there is none.
        """
        cells = evaluation.cells
        measured: dict[tuple[str, Setting], Measured] = {}
        examples: dict[Topic, dict[int, Sample]] = {}
        first_cells: dict[Topic, str] = {}
        for sample in evaluation.samples(read):
            cell = cells[sample.cell]
            key = sample.benchmark, Setting.of(cell)
            if key not in measured:
                measured[key] = Measured(*key, length=cell.sampler.completion_length)
            measured[key].add(sample, ks)
            topic = Topic(sample.benchmark, cell.template)
            if first_cells.setdefault(topic, cell.name) == cell.name:
                kept = examples.setdefault(topic, {}).setdefault(sample.index, sample)
                if sample.passed and not kept.passed:
                    examples[topic][sample.index] = sample
        if not measured:
            raise UserError(
                f"{evaluation.path}: has no sample yet; go on with its evaluation (couplet evaluate, with this "
                "folder as --output)"
            )
        return cls(evaluation, tuple(ks), tuple(measured.values()), examples)

    @property
    def label(self) -> str:
        """What the evaluation is called beside others."""
        return self.evaluation.label

    @property
    def causal(self) -> bool:
        """Whether the model writes from left to right, without denoising steps."""
        return self.evaluation.settings.causal

    def topics(self) -> list[Topic]:
        """List what there are samples of, in their order."""
        return list(dict.fromkeys(Topic(one.benchmark, one.setting.template) for one in self.measured))

    def settings(self, topic: Topic) -> list[Measured]:
        """Return what was measured of a topic, by temperature and number of steps."""
        found = [one for one in self.measured if Topic(one.benchmark, one.setting.template) == topic]
        return sorted(found, key=lambda one: (one.setting.temperature, one.setting.steps or 0))

    def by_temperature(self, topic: Topic) -> list[Measured]:
        """Return the settings with the most denoising steps, by temperature."""
        found = self.settings(topic)
        most = max((one.setting.steps or 0 for one in found), default=0)
        return [one for one in found if (one.setting.steps or 0) == most]

    def by_steps(self, topic: Topic) -> dict[float, list[Measured]]:
        """Return the settings of each temperature, ascending, which differ in their steps."""
        found: dict[float, list[Measured]] = {}
        for one in self.settings(topic):
            found.setdefault(one.setting.temperature, []).append(one)
        return found

    def first_steps(self, topic: Topic) -> FirstSteps | None:
        """Return the confidences at the first steps of the first setting of a topic, by its first seed."""
        first = next(iter(self.by_temperature(topic)), None)
        if first is None:
            return None
        names = [cell.name for cell in self.evaluation.settings.cells if Setting.of(cell) == first.setting]
        return next(
            (
                one
                for one in self.evaluation.first_steps
                if one.benchmark == topic.benchmark and one.cell in names[:1]
            ),
            None,
        )


def pass_ks(measured: Sequence[Measured]) -> tuple[int, ...]:
    """Return the k of pass@k that all settings have samples for, 1 and the most; none if one has no verdict."""
    most = min((one.most for one in measured), default=0)
    return tuple(sorted({1, most})) if most else ()
