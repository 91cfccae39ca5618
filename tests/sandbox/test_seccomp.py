"""The filters, interpreted here for both machines."""

from __future__ import annotations

import struct

import pytest

from sandbox.inside import seccomp, syscalls

ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
TABLES = {
    "x86_64": (0xC000003E, syscalls.X86_64, syscalls.X86_64_SPECIAL),
    "aarch64": (0xC00000B7, syscalls.AARCH64, syscalls.AARCH64_SPECIAL),
}


def program_of(machine: str, executes: int | None = None) -> tuple[bytes, ...]:
    """A program has the filter of its fork server and its own."""
    return seccomp.fork_server(machine, executes=executes), seccomp.fork(machine)


def decide(filters: tuple[bytes, ...], number: int, arch: int, *arguments: int) -> int:
    """The kernel takes the strictest answer."""
    answers = [answer(each, number, arch, *arguments) for each in filters]
    return KILL if KILL in answers else min(answers)


def answer(program: bytes, number: int, arch: int, *arguments: int) -> int:
    data = struct.pack("<iIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    code = list(struct.iter_unpack("HBBI", program))
    position, value = 0, 0
    while True:
        op, jt, jf, k = code[position]
        position += 1
        match op:
            case 0x20:
                (value,) = struct.unpack_from("<I", data, k)
            case 0x54:
                value &= k
            case 0x15 | 0x25 | 0x35 | 0x45:
                taken = {0x15: value == k, 0x25: value > k, 0x35: value >= k, 0x45: bool(value & k)}[op]
                position += jt if taken else jf
            case 0x05:
                position += k
            case 0x06:
                return k
            case _:
                raise AssertionError(f"unknown instruction {op:#x}")


@pytest.mark.parametrize("machine", TABLES)
def test_exactly_the_table_is_allowed(machine: str) -> None:
    arch, allowed, special = TABLES[machine]
    program = program_of(machine)
    numbers = set(range(600)) - set(special.values())
    assert {n for n in numbers if decide(program, n, arch) == ALLOW} == set(allowed.values())
    assert {decide(program, n, arch) for n in numbers - set(allowed.values())} == {EPERM}


@pytest.mark.parametrize("machine", TABLES)
def test_answers_by_argument(machine: str) -> None:
    arch, _, special = TABLES[machine]
    program = program_of(machine)

    def ask(name: str, *arguments: int) -> int:
        return decide(program, special[name], arch, *arguments)

    thread = 0x3D0F00
    assert ask("clone3") == ENOSYS
    assert ask("clone", thread) == ALLOW
    assert ask("clone", 17) == EPERM
    for namespace in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80):
        assert ask("clone", thread | namespace) == EPERM
    assert ask("socketpair", 1, 1) == ALLOW
    assert ask("socketpair", 1, 1 | 0o2000000) == ALLOW
    assert ask("socketpair", 1, 2) == EPERM
    assert ask("socketpair", 1, 5) == EPERM
    assert ask("socketpair", 2, 1) == EPERM
    assert ask("prctl", 15) == ALLOW
    assert {ask("prctl", option) for option in (1, 4, 8, 22, 24, 28, 35, 36, 38)} == {EPERM}
    assert ask("ioctl", 0, 0x5401) == ALLOW
    assert ask("ioctl", 0, 0x5412) == EPERM  # TIOCSTI


@pytest.mark.parametrize("machine", TABLES)
def test_signals_and_limits_are_for_oneself(machine: str) -> None:
    arch, _, special = TABLES[machine]
    program = program_of(machine)

    def ask(name: str, *arguments: int) -> int:
        return decide(program, special[name], arch, *arguments)

    everybody, own_group = 2**64 - 1, 0
    for name in ("kill", "tkill", "tgkill"):
        assert ask(name, seccomp.OWN_ID, 9) == ALLOW
        assert {ask(name, target, 9) for target in (1, 2, 4711, own_group, everybody)} == {EPERM}
    assert [ask("prlimit64", target) for target in (0, seccomp.OWN_ID, 1, 2)] == [ALLOW, ALLOW, EPERM, EPERM]
    duplicate, set_flags, set_owner, set_signal, set_owner_ex = 0, 4, 8, 10, 15
    assert {ask("fcntl", 0, action) for action in (duplicate, set_flags)} == {ALLOW}
    assert {ask("fcntl", 0, action) for action in (set_owner, set_signal, set_owner_ex)} == {EPERM}


@pytest.mark.parametrize("machine", TABLES)
def test_a_fork_server_may_fork_and_its_forks_filters_take_that_away(machine: str) -> None:
    arch, allowed, special = TABLES[machine]
    server, program = (seccomp.fork_server(machine),), program_of(machine)

    def ask(filter: tuple[bytes, ...], name: str, *arguments: int) -> int:
        return decide(filter, special[name], arch, *arguments)

    fork, new_user = 0x1200011, 0x10000000
    more = (
        *(("clone", fork), ("recvmsg", 0), ("memfd_create", 0), ("prctl", 22), ("sched_setaffinity", 0)),
        *(("setresuid", 0), ("setresgid", 0)),
    )
    for name, argument in more:
        assert (ask(server, name, argument), ask(program, name, argument)) == (ALLOW, EPERM)
    assert ask(server, "clone", fork | new_user) == EPERM
    assert ask(server, "kill", 4711) == ALLOW  # as the id of a fork
    numbers = set(range(600)) - set(special.values())
    assert {n for n in numbers if decide(server, n, arch) == ALLOW} == set(allowed.values())


@pytest.mark.parametrize("machine", TABLES)
def test_what_becomes_another_interpreter_may_execute_one_descriptor_besides(machine: str) -> None:
    arch, _, special = TABLES[machine]
    plain, executes = program_of(machine), program_of(machine, 4)
    empty_path = 0x1000

    def ask(filter: tuple[bytes, ...], *arguments: int) -> int:
        return decide(filter, special["execveat"], arch, *arguments)

    assert [ask(executes, fd, 0, 0, 0, empty_path) for fd in (4, 3, 5)] == [ALLOW, EPERM, EPERM]
    assert ask(executes, 4, 0, 0, 0, 0) == EPERM  # a path, from that folder
    assert ask(plain, 4, 0, 0, 0, empty_path) == EPERM
    others = set(range(600)) - {special["execveat"]}
    for argument in (0, 1, seccomp.OWN_ID, 4711):
        decisions = [{n: decide(each, n, arch, argument, argument) for n in others} for each in (plain, executes)]
        assert decisions[0] == decisions[1]


@pytest.mark.parametrize("machine", TABLES)
def test_foreign_calls_are_killed(machine: str) -> None:
    arch, _, _ = TABLES[machine]
    program = program_of(machine)
    assert decide(program, 0, 0x40000003) == KILL
    assert decide(program, 0x40000000, arch) == KILL


def test_unknown_machines_are_refused() -> None:
    with pytest.raises(OSError, match="no system call table"):
        seccomp.fork_server("vax")
