"""Which task each group gets: a pure function of the run seed and the group's index.

Nothing has to be restored after a crash but the index.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from common import rng
from common.config import Config, ConfigError, RewardConfig
from common.mixture import Mixture
from common.models.folder import MissingTokenizerError, local_model_folder
from common.models.prompts import PromptEncoder
from common.records import Task
from learner.warm_start.synthetic import generate
from orchestrator.task_sources import Split, read_sources, usable_tasks

_SPLITS: tuple[Split, ...] = ("train", "held_out")


class Curriculum:
    """Draw training tasks: epoch after epoch, each epoch in its own random order.

    Sources with weights have epochs of their own; :class:`common.mixture.Mixture` says which source each group is
    of. An epoch of them all is as many groups as there are tasks.
    """

    def __init__(self, tasks: Sequence[Task], seed: int) -> None:
        """Draw from tasks without weights. Raises ConfigError for none."""
        if not tasks:
            raise ConfigError("data.train: no usable task")
        self._orders = [_Order(tasks, seed)]
        self._mixture: Mixture | None = None

    @classmethod
    def weighted(cls, sources: Sequence[tuple[Sequence[Task], float]], seed: int) -> Curriculum:
        """Draw from sources, each of tasks and a weight. Raises ConfigError where one has no task."""
        made = cls([task for tasks, _ in sources for task in tasks], seed)
        made._orders = [_Order(tasks, seed, number) for number, (tasks, _) in enumerate(sources)]
        made._mixture = Mixture([weight for _, weight in sources], seed)
        return made

    def __len__(self) -> int:
        return sum(len(order.tasks) for order in self._orders)

    def task(self, index: int) -> Task:
        """Return the task of the group with this index."""
        source, place = (0, index) if self._mixture is None else self._mixture.place(index)
        return self._orders[source].task(place)

    def epochs(self, groups: int) -> list[float]:
        """Return how often the first ``groups`` groups go through the tasks of each source, in the mean."""
        counts = [groups] if self._mixture is None else self._mixture.counts(groups)
        return [float(count) / len(order.tasks) for count, order in zip(counts, self._orders, strict=True)]


class _Order:
    """The tasks of one source, epoch after epoch; ``label`` numbers the source where there are weights."""

    def __init__(self, tasks: Sequence[Task], seed: int, *label: int) -> None:
        self.tasks = tasks
        self._seed = seed
        self._label = label
        self._epoch = -1
        self._order: Sequence[int] = ()

    def task(self, index: int) -> Task:
        epoch, offset = divmod(index, len(self.tasks))
        if epoch != self._epoch:
            draw = rng.stream(self._seed, "task-order", epoch, *self._label)
            self._order = draw.permutation(len(self.tasks)).tolist()
            self._epoch = epoch
        return self.tasks[self._order[offset]]


def load_curriculum(config: Config, notes: list[str]) -> tuple[Curriculum, list[Task]]:
    """Load or generate the training tasks of a run, as it draws them, and its held-out ones.

    Adds a line to ``notes`` for what is left out. Raises TaskFileError, ModelError, and ConfigError for a source
    of which no task can be used.
    """
    sources, held_out = _load(config, notes)
    weights = [source.weight for source in config.data.train if source.weight is not None]
    if weights:
        return Curriculum.weighted(list(zip(sources, weights, strict=True)), config.run.seed), held_out
    return Curriculum([task for tasks in sources for task in tasks], config.run.seed), held_out


def begin_generating(config: Config) -> Future[tuple[Curriculum, list[Task]]]:
    """Generate synthetic tasks in another thread, as :func:`load_curriculum` does."""
    executor = ThreadPoolExecutor(1)
    tasks = executor.submit(load_curriculum, config, [])
    executor.shutdown(wait=False)
    return tasks


def load_data(config: Config, notes: list[str]) -> tuple[list[Task], list[Task]]:
    """Load the training and the held-out tasks as :func:`load_curriculum` does, in the order of their sources."""
    sources, held_out = _load(config, notes)
    return [task for tasks in sources for task in tasks], held_out


@dataclass(frozen=True)
class TaskCounts:
    """The tasks of a run; ``notes`` say what is left out, and what could not be measured."""

    train: int
    held_out: int
    notes: tuple[str, ...]


def count_tasks(config: Config) -> TaskCounts:
    """Count the tasks that :func:`load_data` gives, as it does, but download nothing.

    Without the model's tokenizer tasks with long prompts are counted too. Raises what :func:`load_data` does.
    """
    data, notes = config.data, list[str]()
    if data.source == "synthetic":
        return TaskCounts(data.train_tasks, data.held_out_tasks, ())
    read = {split: read_sources(data, split, download=False) for split in _SPLITS}
    encoder = None
    if local_model_folder(config.model.path) is not None:
        with suppress(MissingTokenizerError):
            encoder = PromptEncoder(config.model.path, data)
    if encoder is None:
        notes.append(
            f"data.train: counted with the prompts of more than {data.max_prompt_tokens} tokens, which are left "
            f"out later: {config.model.path} and its tokenizer are not on this machine"
        )
    scoring = _scoring_here(config)
    train, held_out = (
        sum(len(usable_tasks(data, split, source, encoder, scoring, notes)) for source in read[split])
        for split in _SPLITS
    )
    return TaskCounts(train, held_out, tuple(notes))


def _load(config: Config, notes: list[str]) -> tuple[list[list[Task]], list[Task]]:
    """Load the training tasks of each source, and the held-out ones of all."""
    data = config.data
    if data.source == "synthetic":
        try:
            made = generate(config.run.seed, data.train_tasks, data.held_out_tasks)
        except ValueError as error:
            raise ConfigError(f"data.train_tasks: {error}") from error
        return [[t.task for t in made.train]], [t.task for t in made.held_out]
    read = {split: read_sources(data, split) for split in _SPLITS}
    encoder = PromptEncoder(config.model.path, data)
    scoring = _scoring_here(config)
    train, held_out = (
        [usable_tasks(data, split, source, encoder, scoring, notes) for source in read[split]] for split in _SPLITS
    )
    return train, [task for tasks in held_out for task in tasks]


def _scoring_here(config: Config) -> RewardConfig | None:
    """Return the settings of scoring if this machine scores: what another one has installed is not known here."""
    return config.reward if config.reward.workers and config.ray.address == "local" else None
