"""Self-contained HTML pages: templates, and the policy by which a page runs no script but ours.

Completions are hostile text: the templates escape all of it, and the page's own security policy stops what
might get through.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.report.chart_numbers import count, short
from orchestrator.report.text import clean, program

_TEMPLATES = Path(__file__).parent / "templates"


def chart_style() -> str:
    """Return the style sheet of charts: colours, in light and in dark mode, lines and texts."""
    return (_TEMPLATES / "chart.css").read_text(encoding="utf-8")


def write_page(
    template: str,
    view: Mapping[str, Any],
    path: Path,
    scripts: Sequence[str] = ("report.js",),
    styles: Sequence[str] = ("report.css",),
) -> Path:
    """Render a template with ``view`` and replace the file at ``path`` in one step. Raises OSError.

    ``scripts`` and ``styles`` are files beside the templates that become parts of the page.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = "".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in scripts)
    style = chart_style() + "".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in styles)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals |= {
        "script": Markup(script),
        "style": Markup(style),
        "script_digest": digest,
        "short": short,
        "count": count,
        "clean": clean,
        "program": program,
    }
    return replace_text(path, environment.get_template(template).render(view))


def replace_text(path: Path, text: str) -> Path:
    """Replace the file at ``path`` in one step, and return it. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8", errors="replace")
    draft.replace(path)
    return path
