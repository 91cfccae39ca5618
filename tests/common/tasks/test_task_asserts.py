import pytest

from common.tasks.asserts import UnusableTestError, read_assert


@pytest.mark.parametrize(
    ("line", "call", "expected"),
    [
        ("assert f(1, [2]) == [1, -2]", "f(1, [2])", "[1, -2]"),
        ("assert f(1)==(1,'a'), 'message'", "f(1)", "(1, 'a')"),
        ("assert {'a': 1} == f()", "f()", "{'a': 1}"),
        ("assert f(2, key={1, 2}) is None", "f(2, key={1, 2})", "None"),
        ("assert True is f(2)", "f(2)", "True"),
        ("assert (f(1)) == set()", "f(1)", "set()"),
    ],
)
def test_a_call_with_literals_is_judged_by_value(line: str, call: str, expected: str):
    case = read_assert(line).test_case(("f",))
    assert (case.kind, case.call, case.expected, case.script) == ("call", call, expected, "")


@pytest.mark.parametrize(
    "line",
    [
        "assert f(2)",
        "assert not f(2)",
        "assert f(2) != 3",
        "assert f(2) is not None",
        "assert 1 < f(2) < 3",
        "assert abs(f(2) - 0.5) < 1e-6",
        "assert sorted(f(2)) == [1, 2]",
        "assert f(1) + 1 == 2",
        "assert f(1) == f(2)",
        "assert f(1) == set([1])",
        "assert f(float('inf')) == 1",
        "assert f(*[1]) == 1",
        "assert f(**{'a': 1}) == 1",
        "assert f(Node(1)) == 1",
        "assert f(1).x == 1",
        "assert isinstance(f(1), list)",
        "assert f(1) == 1; assert f(2) == 2",
        "x = f(1)\nassert x == 1",
    ],
)
def test_anything_else_runs_where_the_tests_run(line: str):
    case = read_assert(f" {line}\n").test_case(("f",))
    assert (case.kind, case.script, case.call, case.expected) == ("script", line, "", None)


def test_only_calls_of_the_solution_are_judged_by_value():
    assert read_assert("assert sum([1]) == 1").test_case(("sum",)).kind == "call"
    with pytest.raises(UnusableTestError, match="uses no name of the solution"):
        read_assert("assert sum([1]) == 1").test_case(("f",))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("assert 1 == 1", "only literals"),
        ("assert True", "only literals"),
        ("assert [x for x in (1,)] == [1]", "only literals"),
        ("print(f(1))", "no assert"),
        ("", "no assert"),
        ("assert f(1) ==", "not Python"),
        ("return f(1)", "not Python"),
        ("assert f('\0')", "not Python"),
    ],
)
def test_what_tests_nothing_says_why(line: str, reason: str):
    with pytest.raises(UnusableTestError, match=reason):
        read_assert(line)
