import pytest

from common.tasks.asserts import SplitError, split_assert


@pytest.mark.parametrize(
    ("line", "call", "expected"),
    [
        ("assert f(1, [2]) == [1, -2]", "f(1, [2])", "[1, -2]"),
        ("assert f(1)==(1,'a'), 'message'", "f(1)", "(1, 'a')"),
        ("assert {'a': 1} == f()", "f()", "{'a': 1}"),
        ("assert f(2) is None", "f(2)", "None"),
        ("assert f(2) is True", "f(2)", "True"),
        ("assert f(2)", "bool(f(2))", "True"),
        ("assert not f(2)", "bool(not f(2))", "True"),
        ("assert f(2) != 3", "bool(f(2) != 3)", "True"),
        ("assert abs(f(2) - 0.5) < 1e-6\n", "bool(abs(f(2) - 0.5) < 1e-06)", "True"),
        ("assert (f(1)\n    + 2) == 3", "f(1) + 2", "3"),
    ],
)
def test_split(line: str, call: str, expected: str):
    case = split_assert(line)
    assert (case.kind, case.call, case.expected) == ("call", call, expected)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("assert f(1) == g(2)", "neither side"),
        ("assert f(1) == set([1])", "neither side"),
        ("assert 1 == 1", "both sides"),
        ("assert True", "tests nothing"),
        ("print(f(1))", "not a single assert"),
        ("assert f(1) == 1; assert f(2) == 2", "not a single assert"),
        ("assert f(1) ==", "not Python"),
    ],
)
def test_what_cannot_be_split_says_why(line: str, reason: str):
    with pytest.raises(SplitError, match=reason):
        split_assert(line)
