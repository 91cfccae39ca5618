"""What holds for the tests as a whole: any of their folders run together, and lists of them name what exists."""

from __future__ import annotations

from collections import Counter

from tests.conftest import SLOW, TESTS


def test_every_folder_of_tests_is_a_package() -> None:
    """Else two files of one name, as ``conftest.py``, clash when both of their folders are collected."""
    folders = {file.parent for pattern in ("test_*.py", "conftest.py") for file in TESTS.rglob(pattern)}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_what_is_left_out_as_slow_exists() -> None:
    assert [name for name in SLOW if not (TESTS / name).exists()] == []
    assert max(Counter(SLOW).values()) == 1
