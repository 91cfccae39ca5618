"""Try bugs one after the other in a scratch clone, and tell which test caught each."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from tests.mutations.mutation import Mutation

ROOT = Path(__file__).parents[2]
#: pytest's exit codes where tests failed or could not be collected; but for 0, others mean a wrong list of bugs.
_FAILED = (1, 2)
_FAILURE = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
_SHOWN = 2000


class MisfitError(ValueError):
    """A bug that does not fit the source or the tests; the message names the bug and the file."""


@dataclass(frozen=True)
class Result:
    """What became of a bug: ``caught`` by the test ``by``, ``hung`` past the deadline, or ``survived``."""

    name: str
    verdict: str
    by: str = ""
    seconds: float = 0.0


class Scratch:
    """A clone of the last commit in which bugs are tried; a run of tests takes ``deadline`` seconds at most."""

    def __init__(self, folder: Path, deadline: float) -> None:
        self._folder = folder
        self._deadline = deadline
        # Byte code would be told from that of another bug only by its second and its size.
        self._environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        _git("clone", "--quiet", str(ROOT), str(folder))

    def check(self, bug: Mutation) -> None:
        """Raise MisfitError unless the bug's snippet occurs once and its tests exist."""
        file = self._folder / bug.file
        count = file.read_text().count(bug.old) if file.is_file() else 0
        if count != 1:
            raise MisfitError(
                f"{bug.name}: {bug.file} holds the snippet `old` {count} times, not once; mend `old`"
            )
        for test in (*bug.tests, *bug.second_tests):
            if not (self._folder / test).exists():
                raise MisfitError(f"{bug.name}: {test} does not exist; mend `tests` or `wider`")

    def control(self, bugs: Sequence[Mutation]) -> None:
        """Run the tests of these bugs without a bug. Raises MisfitError if one fails: it would catch all bugs."""
        tests = list(dict.fromkeys(test for bug in bugs for test in bug.tests))
        verdict, by = self._test("control", tests, len(bugs) * self._deadline)
        if verdict != "survived":
            raise MisfitError(f"without a bug: {verdict} {by}; mend what fails there")

    def attempt(self, bug: Mutation) -> Result:
        """Run the tests against the bug. Raises MisfitError for tests that cannot be run."""
        self.check(bug)
        file = self._folder / bug.file
        file.write_text(file.read_text().replace(bug.old, bug.new))
        started = time.monotonic()
        try:
            if bug.generate:
                command = [sys.executable, "-m", "deploy.generate"]
                subprocess.run(command, cwd=self._folder, env=self._environment, capture_output=True, check=True)
            verdict, by = self._test(bug.name, bug.tests, self._deadline)
            if verdict == "survived":
                verdict, by = self._test(bug.name, bug.second_tests, self._deadline)
                if verdict == "caught" and self._test(bug.name, [by.split("::")[0]], self._deadline) != (
                    verdict,
                    by,
                ):
                    verdict, by = (
                        "survived",
                        f"(when run again, it passed {by})",
                    )  # many tests, and one had bad luck
        finally:
            _git("-C", str(self._folder), "restore", ".")
        return Result(bug.name, verdict, by, round(time.monotonic() - started, 1))

    def _test(self, name: str, tests: Sequence[str], deadline: float) -> tuple[str, str]:
        """The verdict of these tests, and the test that failed."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--color=no", *tests]
        with TemporaryFile("w+") as output:  # a pipe would stay open in what a test leaves running
            process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(deadline)
            except subprocess.TimeoutExpired:
                return "hung", " ".join(tests)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            output.seek(0)
            text = output.read()
        if code == 0:
            return "survived", ""
        failure = _FAILURE.search(text)
        if code not in _FAILED or failure is None:
            raise MisfitError(f"{name}: pytest ended with code {code} on {' '.join(tests)}:\n{text[-_SHOWN:]}")
        return "caught", failure[1]


@contextmanager
def scratch_clone(deadline: float) -> Iterator[Scratch]:
    """Clone the repository into a temporary folder, which is removed again."""
    with TemporaryDirectory(prefix="couplet-mutations-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # some tests run programs as another user, who has to read the source
        yield Scratch(Path(folder) / "couplet", deadline)


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True)
