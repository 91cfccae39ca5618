"""Signals as requests to stop, sent to this very process."""

from __future__ import annotations

import os
import signal

import pytest

from orchestrator.interrupt import Interrupted, StopRequest


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_raised_at_the_next_check_until_it_is_answered(number: int, exit_code: int) -> None:
    with StopRequest() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted) as caught:
            stop.check()
        assert caught.value.exit_code == exit_code
        stop.answer()
        stop.check()


def test_a_second_signal_acts_at_once_and_the_handlers_of_before_come_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        stop.install()  # as after a library that has put its own handlers in place
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
