"""Self-test of a fresh slot: a program tries to break its isolation before any hostile one can."""

from __future__ import annotations

from sandbox import wire
from sandbox.account import Account
from sandbox.inside import protocol, values
from sandbox.link import Slot, SlotError
from sandbox.types import Budget, Case, Limits, Program

_DEADLINE_S = 30.0
_SOURCE = """
import os, socket
def refused(action):
    try:
        action()
    except OSError:
        return True
    return False
"""
_CALLS = (
    "refused(socket.socket)",
    "refused(os.fork)",
    "refused(lambda: open('/etc/passwd'))",
    "refused(lambda: os.setuid(0)) or os.getuid() == 0",
)


def check(slot: Slot) -> None:
    """Run the self-test. Raises SlotError when a part of the isolation is missing."""
    cases = [Case(str(index), call=call) for index, call in enumerate(_CALLS)]
    program, whole = Program(_SOURCE, tuple(cases)), Account(Budget()).left()
    request = wire.request(program, cases, Limits(), whole, str(slot.hello["byte_code"]))
    answer = slot.ask(request.header, request.payload, request.given, _DEADLINE_S)
    expected = [(protocol.VALUE, values.encode(True, 100))] * len(_CALLS)
    if answer.results[2:] != expected:
        raise SlotError(f"self-test failed: {answer.results[1:]}")
