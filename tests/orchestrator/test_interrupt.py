"""Signals as requests to stop, sent to this very process."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from common.processes import signal_handlers_kept
from orchestrator.interrupt import Interrupted, StopRequest, interrupted_at_once


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


def test_a_request_by_another_way_is_as_a_signal_and_comes_once() -> None:
    with StopRequest() as stop:
        stop.request(signal.SIGTERM)
        with pytest.raises(Interrupted) as caught:
            stop.check()
        assert caught.value.exit_code == 143
        stop.answer()
        stop.request(signal.SIGTERM)
        stop.check()


def test_a_second_signal_acts_at_once_and_the_handlers_of_before_come_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopRequest():
        with signal_handlers_kept():  # as a library does that puts its own handlers in place
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_handler_that_a_library_sets_in_c_is_replaced_by_ours() -> None:
    with StopRequest() as stop:
        with signal_handlers_kept():
            ctypes.CDLL(None).signal(signal.SIGTERM, ctypes.c_void_p(int(signal.SIG_IGN)))
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            stop.check()


def test_before_anything_is_started_a_signal_acts_at_once_whoever_catches_exceptions() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def go_on_after_any_exception() -> None:
        """As some libraries do while they are imported."""
        with interrupted_at_once(), suppress(Exception):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted) as caught:
        go_on_after_any_exception()
    assert caught.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before


#: Sends itself SIGTERM when the module is imported that the last argument names.
PROGRAM = """
import os, signal, sys
import couplet_rl

class Finder:
    def __init__(self, module):
        self.module = module

    def find_spec(self, name, path=None, target=None):
        if name == self.module:
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Finder(sys.argv.pop()))
couplet_rl.main()
"""


@pytest.mark.parametrize("module", ["click", "ray"])
def test_a_command_that_is_being_imported_ends_with_the_code_and_one_line(module: str) -> None:
    command = [sys.executable, "-c", PROGRAM, "train", "quickstart", "run.folder=/nowhere/run", module]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 143, done.stderr
    assert done.stderr.startswith("stopped by SIGTERM"), done.stderr
    assert len(done.stderr.splitlines()) == 1
