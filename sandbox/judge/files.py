"""Whether a program left the files that a test expects. Pure, on data that the program wrote."""

from __future__ import annotations

from common.records import TestCase
from sandbox.inside import values
from sandbox.judge.comparison import same_text
from sandbox.types import CaseRun


def has_files(run: CaseRun, test: TestCase) -> bool:
    """Compare the files that were collected with the expected ones, as printed text is compared.

    Raises ValueRefusedError for what is no such report.
    """
    if not test.expected_files:
        return True
    if run.files is None:
        return False
    found = values.decode(run.files)
    if not isinstance(found, list) or len(found) != len(test.expected_files):
        raise values.ValueRefusedError("not the contents of the files")
    return all(
        isinstance(content, bytes)
        and same_text(content.decode("utf-8", "replace"), expected, test.comparison, test.tolerance)
        for content, expected in zip(found, test.expected_files.values(), strict=True)
    )
