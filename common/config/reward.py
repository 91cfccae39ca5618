"""The tests and rewards of completions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from common.config.base import Amount, NonNegative, Positive, Rate, RayResource, Section, Share
from common.numbers import LARGEST_NUMBER
from common.presets import REWARD_PRESETS, RewardPreset

#: Metrics ``reward/NAME`` that are no component of the user's.
RESERVED_COMPONENTS = ("tests", "format", "mean", "std", "plateau", "solved", "pass_rate", "excluded", "total")


STATIC_CHECK = "static_check"
#: Pays for parallel decoding, and so needs a decoder that decides how much it commits at a step.
TOKENS_PER_FORWARD = "tokens_per_forward"
#: Reward functions of ours, which ``reward.functions`` asks for by name.
BUILT_IN_REWARDS = (STATIC_CHECK, TOKENS_PER_FORWARD)


ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]


class RewardFunctionConfig(Section):
    """A reward function: takes (task, completion), gives a finite number; it may be ``async``."""

    path: str = Field(pattern=r"^[A-Za-z_]\w*((\.[A-Za-z_]\w*)*:[A-Za-z_]\w*)?$")
    """``package.module:function``, importable where the reward workers run; an installed plug-in's name; or one of
    ours: ``static_check`` (a third each: parses, imports resolve, names are bound) and ``tokens_per_forward`` (of
    the text, with ``rollout.decoder: threshold``)."""
    weight: Annotated[float, Field(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)] = 1.0
    """Factor of its value in the reward; the function's name names its component."""
    scope: Literal["completion", "group"] = "completion"
    """``group``: it takes (task, completions), all of a group but excluded ones, and gives a number for each."""
    timeout_seconds: Rate = 60.0
    """Deadline of a call; of an ``async`` function, for all its calls on a group, which run at the same time.
    Missing it is an error, as raising is, and ends the process that the function runs in."""
    processes: Positive = 1
    """Processes in which ``couplet serve-rewards``, which scores several groups at a time, runs it. Each imports
    the module, has its own state, and takes one group at a time. A run has one in each reward worker."""
    memory_mb: Positive | None = None
    """Resident memory of such a process, MiB, above which it is replaced; without a bound, one that leaks is the
    first that the kernel kills."""

    @property
    def name(self) -> str:
        return self.path.rpartition(":")[2]


class RewardConfig(Section):
    preset: RewardPreset | None = None
    """The rewards of a publication: gives the fields below its values, where the recipe does not set them."""
    workers: NonNegative = 1
    """Ray actors that run tests. 0: processes of ``couplet serve-rewards --streams-url ... --run-id ...`` do it,
    wherever they run."""
    ray_resource: RayResource | None = None
    """Custom Ray resource of which each worker takes 1, so that workers run on the nodes that offer it."""
    tests: Literal["pass_rate", "all_or_nothing"] = "pass_rate"
    """The test reward: share of tests passed, or 1 only if all pass, for which no process is started after one
    fails."""
    tests_weight: Amount = 2.0
    """Weight of the test reward (released DiffuCoder recipe: 2.0)."""
    format_weight: Amount = 0.5
    """Weight of the format reward (released DiffuCoder recipe: 0.5)."""
    code_needs_format: bool = False
    """The test reward counts only beside a full format reward (released DiffuCoder recipe)."""
    hide_shown_test: bool = False
    """Tests that the prompt shows do not count in the test reward, unless it shows all of them."""
    functions: tuple[RewardFunctionConfig, ...] = ()
    """More rewards. One that fails on a group has the group reported as lost, with the reason."""
    allow_forgeable: bool = False
    """Accept tasks whose tests must run in the solution's own process, which could make them pass. They are marked
    ``forgeable``, and their passes are counted."""
    hacking_probe: Share = 0.02
    """Share of the failed programs that are run once more as a naive grader would, to count how many of them it
    would have passed: reward hacking. It changes no reward."""
    shuffle: bool = False
    """Control experiment: permute the rewards inside each group, so that they carry no information."""
    backend: Literal["jail", "docker"] = "jail"
    """Isolation of programs: a jail of this machine's kernel, or containers of a Docker engine or Podman."""
    sandbox_slots: NonNegative = 0
    """Programs each worker runs at once; 0 means one per CPU core."""
    sandbox_level: Literal["jail", "namespaces", "uid"] = "namespaces"
    """Weakest isolation of the ``jail`` backend that is acceptable; below it the run refuses to start. ``jail``:
    namespaces made by root; ``namespaces``: by an ordinary user; ``uid``: none, only another user id, seccomp and
    limits."""
    docker_image: str | None = None
    """Image of the ``docker`` backend; without one, an image is made of the running interpreter."""
    docker_runtime: str | None = None
    """OCI runtime of the ``docker`` backend, for example ``runsc`` (gVisor); without one, the engine's default."""
    packages: Path | None = None
    """A site-packages folder that programs in the ``jail`` may import from; without one they have the standard
    library only. A ``docker_image`` has its own."""
    preload: tuple[ModuleName, ...] = ()
    """Modules of ``packages`` or of the ``docker_image``, such as ``[numpy]``, that are imported once, before any
    program: those that import them then start some 80 ms earlier."""
    own_process: bool = False
    """Give each test a process of its own, so that no state is carried from one to the next; slower."""
    cpu_seconds: Rate = 2.0
    """CPU seconds each program may use per test."""
    wall_seconds: Rate = 6.0
    """Wall-clock back-stop per test."""
    timeouts: Positive = 3
    """Tests of a program that may run out of time; after so many, the rest of its tests are ``timeout``."""
    program_seconds: Rate = 30.0
    """CPU seconds that all tests of a program may take together, beside ten times what the task's reference takes
    of them. Where no reference says that, programs share the group's deadline."""
    memory_mb: Positive = 512
    """Memory each program may use, MiB."""
    output_mb: Positive = 1
    """Output that a test may print, or size of the value that it may return, MiB."""
    group_seconds: Rate = 600.0
    """Wall-clock deadline of a group. Its programs share it: one that uses up its share is ``timeout``, and what
    is not judged by then for another reason is excluded."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_spelling(cls, values: Any) -> Any:
        if isinstance(values, dict) and "cheat_probe" in values:
            raise ValueError("cheat_probe: is spelled hacking_probe; rename it, its meaning is the same")
        return values

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        name = values.get("preset") if isinstance(values, dict) else None
        preset = REWARD_PRESETS.get(name) if isinstance(name, str) else None
        return {**preset, **values} if preset else values

    @model_validator(mode="after")
    def _reward_is_consistent(self) -> Self:
        names = [function.name for function in self.functions]
        for name in names:
            if name in RESERVED_COMPONENTS:
                raise ValueError(f"functions: {name!r} is the name of a metric of ours; rename the function")
            if names.count(name) > 1:
                raise ValueError(f"functions: two are named {name!r}; rename one, its name names its component")
        if self.preload and self.packages is None and self.docker_image is None:
            raise ValueError("preload: names modules of packages or of a docker_image; set one of them")
        if self.backend == "docker" and self.packages is not None:
            raise ValueError("packages: belongs to the jail; name a docker_image that has them, or leave it out")
        if self.backend == "jail" and (self.docker_image or self.docker_runtime):
            field = "docker_image" if self.docker_image else "docker_runtime"
            raise ValueError(f"{field}: belongs to the docker backend; set backend: docker, or leave it out")
        return self
