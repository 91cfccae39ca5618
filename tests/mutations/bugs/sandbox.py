"""Bugs in comparison, verdicts, limits and isolation."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_JUDGE = "sandbox/judge/verdict.py"
_RELAY = "sandbox/inside/relay.py"
_TEST_JUDGE = ("tests/sandbox/test_judge.py",)
_TEST_ISOLATION = ("tests/sandbox/test_isolation.py",)

BUGS = (
    Mutation(
        "whole-numbers-round",
        "Whole numbers are close only within the tolerance of their test.",
        "sandbox/judge/comparison.py",
        old="return bool(difference <= tolerance)",
        new="return bool(difference <= tolerance + _RELATIVE * abs(expected))",
        tests=("tests/sandbox/test_comparison.py",),
    ),
    Mutation(
        "fewer-checks-pass",
        "A script passes after as many checks as the reference made.",
        _JUDGE,
        old="enough = claim.checks >= max(criterion.checks, 1) and claim.calls >= 1",
        new="enough = claim.checks >= 1 and claim.calls >= 1",
        tests=_TEST_JUDGE,
    ),
    Mutation(
        "lying-objects-pass",
        "An object of a solution is asked nothing that the reference's is not asked at its place.",
        _JUDGE,
        old="not (beyond(claim.uses, criterion.uses) or unexpected(claim.changes, criterion.changes))",
        new="not unexpected(claim.changes, criterion.changes)",
        tests=_TEST_JUDGE,
    ),
    Mutation(
        "emptied-arguments-pass",
        "A solution changes no argument that the reference leaves alone.",
        _JUDGE,
        old="not (beyond(claim.uses, criterion.uses) or unexpected(claim.changes, criterion.changes))",
        new="not beyond(claim.uses, criterion.uses)",
        tests=_TEST_JUDGE,
    ),
    Mutation(
        "empty-answers-pass",
        "An answer that is empty passes nothing where the reference's is not.",
        "sandbox/inside/remote.py",
        old="self._look_into(answer, result)",
        new="pass",
        tests=("tests/sandbox/test_forgeries.py",),
    ),
    Mutation(
        "infinity-has-room",
        "Next to an infinity there is no other number.",
        "sandbox/judge/comparison.py",
        old="    if not all(_same_special(a, b) for a, b in finite):\n        return False\n",
        new="",
        tests=("tests/sandbox/test_comparison.py",),
    ),
    Mutation(
        "sockets-allowed",
        "The list of system calls lets no program open a socket.",
        "sandbox/inside/syscalls.py",
        old="fdatasync:75 utime:132",
        new="fdatasync:75 socket:41 connect:42 utime:132",
        tests=("tests/sandbox/test_seccomp.py", *_TEST_ISOLATION),
    ),
    Mutation(
        "cpu-limit-shared",
        "Each test of a program has the whole limit of CPU time.",
        _RELAY,
        old="cpu = self.cpu_limit - (used - self.mark_cpu)",
        new="cpu = self.cpu_limit - used",
        tests=_TEST_ISOLATION,
    ),
    Mutation(
        "files-kept",
        "A program finds no file that another one, or the same one for another input, left.",
        "sandbox/inside/scratch.py",
        old="if not self.is_as_new():",
        new="if self._space != (os.statvfs(TMP).f_blocks * os.statvfs(TMP).f_frsize, os.statvfs(TMP).f_files):",
        tests=("tests/sandbox/test_inputs.py",),
    ),
    Mutation(
        "hangs-unbounded",
        "After some tests that ran out of time the rest of a program's tests are not run.",
        "sandbox/account.py",
        old="if self._timeouts >= whole.timeouts:",
        new="if self._timeouts >= 100 * whole.timeouts:",
        tests=("tests/sandbox/test_budget.py",),
    ),
    Mutation(
        "forged-results-relayed",
        "A program that reports more results than it has tests is stopped.",
        _RELAY,
        old="if run.results.too_long or run.results.complete > run.max_results:",
        new="if run.results.too_long:",
        tests=_TEST_ISOLATION,
    ),
    Mutation(
        "hash-flood-decoded",
        "The host builds no set of more items with one hash than the bound.",
        "sandbox/inside/values.py",
        old="if len(distinct) > MAX_SHARED_HASH:",
        new="if len(distinct) > len(items):",
        tests=("tests/sandbox/test_values.py",),
    ),
)
