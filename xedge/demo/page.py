"""The page of a demo: one document, whose style and script are inside and which loads nothing from elsewhere."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from xedge.untrusted import shown


def page(title: str, facts: dict[str, Any], nonce: str) -> str:
    """Return the HTML of the page.

    Args:
        title: The heading.
        facts: What the script is given about the bundles and the machine.
        nonce: The word by which the browser knows the style and the script as the page's own.
    """
    # The end of a script element must not be in the data.
    data = json.dumps(facts).replace("<", "\\u003c")
    parts = {name: files(__package__).joinpath(f"page.{name}").read_text() for name in ("html", "css", "js")}
    return Template(parts["html"]).substitute(
        title=escape(shown(title)), facts=data, nonce=nonce, style=parts["css"], script=parts["js"]
    )


def policy(nonce: str) -> str:
    """Return the Content-Security-Policy: what the page has inside, and pictures and states from the same server.

    Args:
        nonce: The word in the page's style and script; without one, nothing is allowed at all.
    """
    own = f"; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; connect-src 'self'" if nonce else ""
    return f"default-src 'none'{own}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
