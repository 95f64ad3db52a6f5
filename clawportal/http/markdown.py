"""Markdown of people as HTML of a page. Nothing of it can run, and nothing is loaded from elsewhere.

HTML in the text is shown as it was typed, pictures become links, and links lead to web pages and mail addresses only.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_ADDRESS = re.compile(r"(?i)^(?:https?://|mailto:)[^\s]+$")
_BELOW = 2
"""A heading of a text is smaller than those of the page around it."""


def rendered(text: str) -> Markup:
    return Markup(_reader().render(text))  # noqa: S704  # HTML in it is escaped, and links are held to _ADDRESS


@functools.cache
def _reader() -> MarkdownIt:
    from markdown_it import MarkdownIt  # loaded where somebody wrote something

    reader = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("strikethrough").disable("image")
    reader.validateLink = lambda url: bool(_ADDRESS.match(url))  # type: ignore[method-assign]  # this is how it is told
    for name in ("heading_open", "heading_close"):
        reader.add_render_rule(name, _lower)
    reader.add_render_rule("link_open", _outward)
    return reader


def _lower(renderer: Any, tokens: list[Token], k: int, options: Any, env: Any) -> str:
    tokens[k].tag = f"h{min(6, int(tokens[k].tag[1:]) + _BELOW)}"
    return str(renderer.renderToken(tokens, k, options, env))


def _outward(renderer: Any, tokens: list[Token], k: int, options: Any, env: Any) -> str:
    tokens[k].attrSet("target", "_blank")
    tokens[k].attrSet("rel", "noopener noreferrer nofollow")
    return str(renderer.renderToken(tokens, k, options, env))
