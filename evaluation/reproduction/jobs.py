"""The jobs of a reproduction: what is computed once for each seed. Claims share jobs by their names."""

from __future__ import annotations

from dataclasses import dataclass

#: The recipe that every job starts from, and what makes it cheap: fewer steps, tasks and groups, in one process of
#: one thread. The seed keys tasks, noise and masks, so it pairs the arms; all start from the shipped weights.
RECIPE = "quickstart"
STEPS = 12
BASE = (
    f"run.steps={STEPS}",
    "data.train_tasks=400",
    "data.held_out_tasks=100",
    "learner.groups_per_step=6",
    "learner.ranks=1",
    "learner.zero_stage=0",
    "learner.preset=diffucoder",
    "rollout.workers=1",
    "model.threads=1",
    "model.device=cpu",
    "reward.sandbox_slots=1",
)


@dataclass(frozen=True)
class Training:
    """Train an arm and evaluate it, greedy, on the held-out tasks. ``keep``: probes need its weights."""

    name: str
    title: str
    changes: tuple[str, ...] = ()
    keep: bool = False

    def overrides(self, seed: int) -> tuple[str, ...]:
        """Return the overrides of the recipe."""
        return (*BASE, *self.changes, f"run.seed={seed}")


@dataclass(frozen=True)
class Probe:
    """Complete held-out tasks with the weights of an arm, or with those that all start from (``arm`` None)."""

    arm: Training | None
    temperature: float
    denoising_steps: int
    tasks: int = 50
    samples: int = 4

    @property
    def name(self) -> str:
        who = "start" if self.arm is None else self.arm.name
        return f"{who},T{self.temperature:g},steps{self.denoising_steps},{self.tasks}x{self.samples}"

    @property
    def title(self) -> str:
        who = "start" if self.arm is None else self.arm.title
        return f"{who} at temperature {self.temperature:g}, {self.denoising_steps} steps"

    def overrides(self, seed: int) -> tuple[str, ...]:
        """Return the overrides of the recipe."""
        return (
            *BASE,
            f"evaluation.temperature={self.temperature:g}",
            f"evaluation.samples={self.samples}",
            f"rollout.denoising_steps={self.denoising_steps}",
            f"run.seed={seed}",
        )


@dataclass(frozen=True)
class Enumeration:
    """Compute the variance of estimators over every mask of a short text, on a random tiny model."""

    name: str = "enumeration"
    title: str = "every mask of a text of 4 tokens"

    def overrides(self, seed: int) -> tuple[str, ...]:
        """Return what its result depends on."""
        return (f"seed={seed}",)


Job = Training | Probe | Enumeration


def needs(job: Job) -> Training | None:
    """Return the job whose weights a job reads, if any."""
    return job.arm if isinstance(job, Probe) else None
