"""The process of one reward function: ``python -P -m reward_service.isolation.host SOCKET CLOCK``.

It imports the function, and answers calls on its main thread one after the other until its socket closes. State of
the function, such as a model that its module loads, lives from call to call. What the function prints goes to
wherever this process's output goes, with the traceback of what it raises and, on ``STACK_SIGNAL``, its stack.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from common.config import ConfigError
from reward_service.isolation.calls import Answer, Call, CallClock, Failed, Load, Loaded
from reward_service.user_rewards import (
    NamedReward,
    RewardFunctionError,
    UnknownRewardError,
    load_reward_function,
)

#: Has the process write where it is.
STACK_SIGNAL = signal.SIGUSR1
#: A file of output is emptied when it has grown to this size.
_OUTPUT_BYTES = 16 << 20


def main(connection: Connection, clock: CallClock) -> None:
    """Serve one function until the other side closes the connection."""
    faulthandler.enable()
    faulthandler.register(STACK_SIGNAL)
    # Where memory runs out, the kernel is to kill this process rather than one of ours.
    Path("/proc/self/oom_score_adj").write_text("1000")
    asked: Load = connection.recv()
    try:
        reward = load_reward_function(asked.field, asked.setting, {})
    except ConfigError as error:
        connection.send(Loaded(str(error)))
        return
    connection.send(Loaded(None))
    while True:
        try:
            call: Call = connection.recv()
        except EOFError:
            return
        connection.send(_answer(reward, call, clock))
        _bound_output()


def _answer(reward: NamedReward, call: Call, clock: CallClock) -> Answer:
    try:
        values = reward.values(call.task, call.completions, clock.begin_call)
    except RewardFunctionError as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        return Failed(error.failure, error.problem)
    # An exception of the user's own class may not be readable on the other side.
    return [UnknownRewardError(str(one)) if isinstance(one, UnknownRewardError) else one for one in values]


def _bound_output() -> None:
    sys.stdout.flush()
    output = sys.stdout.fileno()
    if os.fstat(output).st_size > _OUTPUT_BYTES:
        os.ftruncate(output, 0)


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])), CallClock(int(sys.argv[2])))
