"""The preset ``diffucoder`` on answers of every shape, beside the rules of the released code.

The rules (``rewards.py`` of apple/ml-diffucoder) are restated here without a regular expression: one block that
opens with ```` ```python ```` and whose closing line ends the text; half of the format reward if the block does
not parse without the blanks around it; and, only beside a full format reward, the tests. Each of them runs behind
the block, as that stands, in a process of its own.

The released code reads the whole canvas, ours the text up to the token that ends it. Behind that token stands the
newline of the chat format, which the rule wants after the closing fence. So ours may do without it: a text that
ends in a closing fence is worth what the released code pays for it with its newline. This is the one difference.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.config import RewardConfig
from common.tasks.assert_rows import assert_task
from common.tasks.rows import TaskRow
from reward_service.configured import make_scorer
from reward_service.scoring import Scorer
from sandbox.jail.backend import JailSandbox

FENCE = "`" * 3
TESTS = ["assert double(2) == 4", "assert double('ab') == 'abab'", "assert double([1]) == [1, 1]"]
TASK = assert_task(TaskRow(Path("x.jsonl"), 1, {"id": "d", "question": "Double it.", "test_cases": TESTS})).task
RIGHT = "def double(x):\n    return 2 * x\n"
NUMBERS_ONLY = "def double(x):\n    return x + int(x)\n"
INDENTED = "    def double(x):\n        return 2 * x\n"


def block(source: str, language: str = "python", end: str = "\n") -> str:
    return f"{FENCE}{language}\n{source}{FENCE}{end}"


#: Answers that the released code and ours read alike.
SAME = {
    "a right block": block(RIGHT),
    "a block that passes one test": block(NUMBERS_ONLY),
    "text before": "Here is the code:\n\n" + block(RIGHT),
    "text on the line of the opening fence": "Code: " + block(RIGHT),
    "text after": block(RIGHT) + "It doubles x.\n",
    "an empty line after": block(RIGHT) + "\n",
    "a blank after the fence": block(RIGHT, end=" "),
    "a blank after the newline": block(RIGHT) + " ",
    "a carriage return after the fence": block(RIGHT, end="\r\n"),
    "CRLF everywhere": block(RIGHT).replace("\n", "\r\n"),
    "CRLF inside": block(RIGHT.replace("\n", "\r\n")),
    "py": block(RIGHT, "py"),
    "Python": block(RIGHT, "Python"),
    "python3": block(RIGHT, "python3"),
    "a blank after the language": block(RIGHT, "python "),
    "no language": block(RIGHT, ""),
    "two blocks": block(RIGHT) + block(RIGHT),
    "a block of text before": block("double\n", "text") + block(RIGHT),
    "an open block": f"{FENCE}python\n{RIGHT}",
    "no fence": RIGHT,
    "nothing": "",
    "an empty block": block(""),
    "a block of blanks": block("\n  \n"),
    "a syntax error": block("def double(x) return 2 * x\n"),
    "fences in the code": block(f"NOTE = '''{FENCE}'''\n{RIGHT}"),
    "four backticks": f"`{block(RIGHT, end='')}`\n",
    "tilde fences": block(RIGHT).replace(FENCE, "~~~"),
    "a fence after code on its line": block(RIGHT.rstrip("\n")),
    "a quoted block": "> " + block(RIGHT),
    "an indented definition": block(INDENTED),
    "two indented statements": block(f"{INDENTED}    y = 1\n"),
    "tabs": block(RIGHT.replace("    ", "\t")),
    "tabs and blanks": block("def double(x):\n\ty = x\n        return 2 * y\n"),
    "other letters": "Ответ 😀:\n" + block("é = 2\ndef double(x):\n    return é * x\n"),
    "a byte order mark before": "\ufeff" + block(RIGHT),
    "a byte order mark inside": block("\ufeff" + RIGHT),
    "a form feed": block("\f" + RIGHT),
}
#: Answers that ours reads like the released code reads them with a newline behind.
CUT = {
    "the released README's answer": "Here is the code to solve this problem: \n" + block(RIGHT, end=""),
    "no newline": block(RIGHT, end=""),
    "no newline, one test": block(NUMBERS_ONLY, end=""),
    "no newline, indented": block(INDENTED, end=""),
    "no newline, a syntax error": block("def double(x) return\n", end=""),
    "no newline, an empty block": block("", end=""),
}
#: Answers that end without a newline, which would not help them.
NO_HELP = {
    "text after, no newline": block(RIGHT) + "Done.",
    "py, no newline": block(RIGHT, "py", end=""),
    "an open block, no newline": f"{FENCE}python\n{RIGHT}".rstrip("\n"),
    "blanks after, no newline": block(RIGHT, end="  "),
}


def released(answer: str) -> tuple[float, float]:
    """The released rewards for format and tests, before they are weighed."""
    opening = answer.find(FENCE)
    if opening < 0 or not answer.startswith(f"{FENCE}python\n", opening):
        return 0.0, 0.0
    start = opening + len(f"{FENCE}python\n")
    closing = answer.find(FENCE, start)
    if closing < 0 or answer[closing:] != f"{FENCE}\n":
        return 0.0, 0.0
    code = answer[start:closing]
    try:
        ast.parse(code.strip())
    except SyntaxError:
        return 0.5, 0.0
    passed = [
        subprocess.run([sys.executable, "-c", f"{code}\n{test}"], capture_output=True, timeout=60).returncode == 0
        for test in TESTS
    ]
    return 1.0, sum(passed) / len(passed)


@pytest.fixture(scope="module")
def scorer(sandbox: JailSandbox) -> Iterator[Scorer]:
    config = RewardConfig.model_validate({"preset": "diffucoder", "own_process": True, "hacking_probe": 0.0})
    scorer = make_scorer(config, sandbox)
    yield scorer
    scorer.close()


def test_the_preset_pays_what_the_released_code_pays(scorer: Scorer) -> None:
    answers = {**SAME, **NO_HELP}
    scores = dict(zip(answers, scorer.score_group(TASK, list(answers.values())), strict=True))
    for name, answer in answers.items():
        form, tests = released(answer)
        assert scores[name].components == {"format": form, "tests": tests}, name
        assert scores[name].reward == 2.0 * tests + 0.5 * form, name
    paid = {name: score.reward for name, score in scores.items() if score.reward}
    assert paid["a right block"] == 2.5
    assert paid["an indented definition"] == 0.5
    assert paid["two indented statements"] == paid["a syntax error"] == 0.25
    assert len(answers) - len(paid) > 15


def test_a_text_cut_at_its_end_token_is_paid_as_with_the_newline_behind_it(scorer: Scorer) -> None:
    scores = scorer.score_group(TASK, list(CUT.values()))
    for (name, answer), found in zip(CUT.items(), scores, strict=True):
        form, tests = released(answer + "\n")
        assert found.components == {"format": form, "tests": tests}, name
        assert released(answer) == (0.0, 0.0), name
        assert found.reward == 2.0 * tests + 0.5 * form > 0.0, name
    assert [released(answer + "\n") for answer in NO_HELP.values()] == [(0.0, 0.0)] * len(NO_HELP)
