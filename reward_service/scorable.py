"""Which tasks the settings of scoring cannot score, told before anything is generated for them."""

from __future__ import annotations

from functools import cache

from common.config import RewardConfig
from common.records import Task
from common.tasks.libraries import missing
from reward_service.criteria import asks_reference
from sandbox.inside.node import OF_AN_IMAGE
from sandbox.languages import node_program


def why_unscorable(task: Task, scoring: RewardConfig) -> str:
    """Say why a task cannot be scored and what would let it be, empty where nothing is known to be in the way.

    Libraries are looked for in ``packages`` on this machine, and so is Node; a Docker image may have any library,
    and is asked for Node. Raises SandboxUnavailable where it cannot be asked.
    """
    if task.in_process and not scoring.allow_forgeable:
        return (
            "tests that run in the solution's own process can be forged; accept that with "
            "reward.allow_forgeable: true (--allow-forgeable)"
        )
    if task.language == "javascript" and (lacking := _without_node(scoring)):
        return f"is in JavaScript, and {lacking}"
    run = task if asks_reference(task) else task.model_copy(update={"reference": None})
    if scoring.backend == "jail" and (needs := missing(run, scoring.packages)):
        return f"needs {', '.join(needs)}; name a folder that has it with reward.packages (--packages)"
    return ""


def _without_node(scoring: RewardConfig) -> str:
    """Say what has no Node, and what to do about it; empty where programs have one."""
    if scoring.backend == "docker" and scoring.docker_image:
        if "javascript" in _languages_of(scoring.docker_image, scoring.docker_runtime):
            return ""
        return f"the image {scoring.docker_image} has no Node.js; add it as {' or '.join(OF_AN_IMAGE)}"
    return "" if node_program() else "this machine has no Node.js; install it (Debian: nodejs)"


@cache
def _languages_of(image: str, runtime: str | None) -> frozenset[str]:
    """Ask the first container of an image, once in a process: what it can run, only it knows."""
    from sandbox.docker.backend import DockerSandbox

    with DockerSandbox(1, image=image, runtime=runtime) as sandbox:
        return frozenset(sandbox.describe()["languages"])
