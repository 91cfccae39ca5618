"""Templates by name: how tasks are put to a model and answers are read, which published results depend on."""

from __future__ import annotations

from common.config import PromptSettings, Section
from common.errors import UserError
from evaluation.extraction import Extraction


class Template(Section):
    """A way to put tasks to a model."""

    name: str
    """What ``--template`` calls it."""
    about: str
    """Who asks that way, in a sentence."""
    prompts: PromptSettings = PromptSettings()
    """What the model reads, and how its answer begins."""
    stop: tuple[str, ...] = ()
    """The text of a completion ends before the first of these."""
    extraction: Extraction = Extraction()
    """How the program is found in an answer."""


_FENCED = "```\n{prompt}\n```\n"
_EVALPLUS = (
    "Please provide a self-contained Python script that solves the following problem in a markdown code block:\n"
    f"{_FENCED}"
)
_TEMPLATES = (
    Template(name="plain", about="A task's prompt as it stands, without a chat, as in training by default."),
    Template(
        name="base",
        about="For models without a chat: stubs are continued, a question is a docstring that a program follows.",
        prompts=PromptSettings(question_prompt='"""\n{prompt}\n"""\n'),
        stop=("\nassert ", '\n"""'),
        extraction=Extraction(trimmed=True),
    ),
    Template(
        name="chat",
        about="A question in the model's own chat template, answered as the model likes.",
        prompts=PromptSettings(chat_template=True),
    ),
    Template(
        name="diffucoder",
        about="The paper's (DiffuCoder, tables 5 and 6): a chat whose answer begins with an opened fence.",
        prompts=PromptSettings(
            chat_template=True,
            complete_prompt=f"Please complete the following problem:\n{_FENCED}",
            question_prompt=_FENCED,
            answer_prefix="Here is the code to solve this problem:\n```python\n",
        ),
    ),
    Template(
        name="evalplus",
        about="EvalPlus' (its released code): a chat in which every task is a fenced problem.",
        prompts=PromptSettings(
            chat_template=True,
            system_prompt=None,
            complete_prompt=_EVALPLUS,
            question_prompt=_EVALPLUS,
            answer_prefix=(
                "Below is a Python script with a self-contained function that solves the problem and passes "
                "corresponding tests:\n```python\n"
            ),
        ),
    ),
)
#: Every template, by its name.
TEMPLATES = {one.name: one for one in _TEMPLATES}


def template(name: str) -> Template:
    """Return the template of that name. Raises UserError, which lists the names, where there is none."""
    if name not in TEMPLATES:
        raise UserError(f"--template {name!r}: there is none of that name; give one of {', '.join(TEMPLATES)}")
    return TEMPLATES[name]
