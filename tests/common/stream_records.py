"""A prompt and a worker's result of it, for tests of the streams."""

from __future__ import annotations

from common.records import PromptGroup, Sampler, Task, TrajectoryGroup

PROMPT = PromptGroup(
    run_id="r",
    index=3,
    seed=0,
    task=Task(id="t", prompt="p", tests=()),
    group_size=2,
    min_version=0,
    sampler=Sampler(temperature=1.0, top_p=1.0, denoising_steps=1, completion_length=1),
)
RESULT = TrajectoryGroup.from_lost(PROMPT, "a", "because")
