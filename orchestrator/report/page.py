"""Self-contained HTML pages: templates, and the policy by which a page runs no script but ours.

Completions are hostile text: the templates escape all of it, and the page's own security policy stops what
might get through.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.report.chart_numbers import count, short
from orchestrator.report.text import clean, program

_TEMPLATES = Path(__file__).parent / "templates"


def write_page(template: str, view: Mapping[str, Any], path: Path) -> Path:
    """Render a template with ``view`` and replace the file at ``path`` in one step. Raises OSError."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script, style = ((_TEMPLATES / name).read_text() for name in ("report.js", "report.css"))
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
    page = environment.get_template(template).render(view)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(page, encoding="utf-8", errors="replace")
    draft.replace(path)
    return path
