"""What a seeded bug is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """A bug: ``new`` in place of ``old`` in ``file``, where ``old`` occurs exactly once, breaks the ``promise``.

    ``tests`` are the files that should fail first. If they pass, the test folders of their rooms are run, or
    ``wider`` where it is given. With ``generate``, generated files are made again before the tests: otherwise the
    comparison of generated files would catch the bug, whatever the other tests are worth.
    """

    name: str
    promise: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    wider: tuple[str, ...] = ()
    generate: bool = False

    @property
    def second_tests(self) -> tuple[str, ...]:
        """What is run if ``tests`` pass."""
        return self.wider or tuple(dict.fromkeys("/".join(test.split("/")[:2]) for test in self.tests))
