"""Which tasks the settings of scoring cannot score, told before anything is generated for them."""

from __future__ import annotations

from common.config import RewardConfig
from common.records import Task
from common.tasks.libraries import missing
from reward_service.criteria import asks_reference
from sandbox.languages import node_program


def why_unscorable(task: Task, scoring: RewardConfig) -> str:
    """Say why a task cannot be scored and what would let it be, empty where nothing is known to be in the way.

    Libraries are looked for in ``packages`` on this machine, and so is Node; a Docker image may have any.
    """
    if task.in_process and not scoring.allow_forgeable:
        return (
            "tests that run in the solution's own process can be forged; accept that with "
            "reward.allow_forgeable: true (--allow-forgeable)"
        )
    if task.language == "javascript" and not scoring.docker_image and not node_program():
        return "is in JavaScript, and this machine has no Node.js; install it (Debian: nodejs)"
    run = task if asks_reference(task) else task.model_copy(update={"reference": None})
    if scoring.backend == "jail" and (needs := missing(run, scoring.packages)):
        return f"needs {', '.join(needs)}; name a folder that has it with reward.packages (--packages)"
    return ""
