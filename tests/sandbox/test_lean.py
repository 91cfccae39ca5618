"""What spares forks page faults, and what it must leave alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sandbox.inside import fork_server, huge_text, lean, rehearsal, scratch

MAPS = """\
1000-2000 r--p 00000000 fe:00 1 /lib/other.so
2000-4000 r--p 00000000 fe:00 2 /lib/lib python.so
4000-8000 r-xp 00002000 fe:00 2 /lib/lib python.so
8000-9000 r--p 00006000 fe:00 2 /lib/lib python.so
9000-a000 rw-p 00007000 fe:00 2 /lib/lib python.so
b000-c000 r--p 00008000 fe:00 2 /lib/lib python.so
"""


def printed(script: str) -> list[str]:
    """Run a script in an interpreter of its own, and return the lines that it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("address", "found"),
    [
        (0x5000, (0x2000, 0x9000)),
        (0x1800, (0x1000, 0x2000)),
        (0x9800, (0x9800, 0x9800)),
        (0xD000, (0xD000, 0xD000)),
    ],
)
def test_the_read_only_mappings_around_an_address(address: int, found: tuple[int, int]) -> None:
    assert huge_text.read_only_around(address, huge_text.parsed(MAPS.splitlines())) == found


def test_an_interpreter_goes_on_with_its_code_in_huge_pages() -> None:
    """With code of a file no more, but of what was copied."""
    script = """
        from sandbox.inside import huge_text
        print(huge_text.take_huge_pages())
        with open("/proc/self/smaps_rollup") as file:
            print(sum(int(line.split()[1]) << 10 for line in file if line.startswith("AnonHugePages")))
        print(sum(range(1000)), sorted("cba"))
    """
    taken, huge, computed = printed(script)
    assert computed == "499500 ['a', 'b', 'c']"
    if taken == "0":
        pytest.skip("no huge pages here, or an interpreter that fills none")
    assert int(taken) % (2 << 20) == 0
    assert int(huge) >= int(taken)


def test_objects_that_an_interpreter_makes_lie_in_huge_pages_and_are_what_they_were() -> None:
    script = """
        from sandbox.inside import huge_heap
        huge_heap.keep_together()
        made = [bytes([number % 256]) * 400 for number in range(20_000)]
        print(huge_heap.take_huge_pages())
        with open("/proc/self/smaps_rollup") as file:
            print(sum(int(line.split()[1]) << 10 for line in file if line.startswith("AnonHugePages")))
        print(all(each == bytes([number % 256]) * 400 for number, each in enumerate(made)))
    """
    taken, huge, same = printed(script)
    assert same == "True"
    if taken == "0":
        pytest.skip("no huge pages here")
    assert int(taken) >= 3 * (2 << 20)  # of the 8 MB, whatever lies at their ends
    assert int(huge) >= int(taken)


def test_a_fork_writes_to_fewer_pages_once_the_holes_are_filled() -> None:
    script = """
        import os, resource
        from sandbox.inside import dense

        def faults():
            pid = os.fork()
            if pid == 0:
                made = [bytes(size) for size in range(40, 400) for _ in range(3)]
                os._exit(0)
            _, status, usage = os.wait4(pid, 0)
            return usage.ru_minflt

        made = [bytes(size) for size in range(40, 400) for _ in range(200)]
        del made[::9]
        faults()
        before = faults()
        dense.fill_holes()
        print(before)
        print(faults())
    """
    before, after = map(int, printed(script))
    assert after < before - 50


def test_a_message_and_its_descriptors() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        inbox = lean.Inbox(theirs.fileno(), 2)
        assert inbox.receive(socket.MSG_DONTWAIT) == ()
        for text in (b"first", b"2nd"):
            read, write = os.pipe()
            socket.send_fds(ours, [text], [read, write])
            os.close(read)
            os.close(write)
            got_read, got_write = inbox.receive()
            assert inbox.message.raw.startswith(text)
            os.write(got_write, text)
            assert os.read(got_read, 10) == text
            os.close(got_read)
            os.close(got_write)


def test_how_a_child_ended() -> None:
    """No fork of ``lean``, which the threads of other tests would not survive."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        report = lean.Report(theirs.fileno())
        for code in (0, 3):
            report.wait(os.posix_spawn("/bin/sh", ["sh", "-c", f"exit {code}"], {}))
            assert report.was_good_within(10_000_000) == (code == 0)
            report.send(7)
            status, *times, peak_kb, next_pid = fork_server.ENDED.unpack(ours.recv(1000))
            assert (os.waitstatus_to_exitcode(status), next_pid) == (code, 7)
            assert all(0 <= part < 1_000_000 for part in times)
            assert 0 < peak_kb < 1 << 30


def test_a_folder_that_was_used(tmp_path: Path) -> None:
    folder = lean.Folder(str(tmp_path))
    for _ in range(2):
        scratch.mark(str(tmp_path))
        assert folder.is_untouched()
        (tmp_path / "left").touch()
        assert not folder.is_untouched()
        (tmp_path / "left").unlink()
    with pytest.raises(OSError, match="folder"):
        lean.Folder(str(tmp_path / "none")).is_untouched()


def test_a_rehearsal_leaves_the_streams_alone() -> None:
    streams = sys.stdin, sys.stdout, sys.modules["__main__"]
    rehearsal.rehearse()
    assert (sys.stdin, sys.stdout, sys.modules["__main__"]) == streams
