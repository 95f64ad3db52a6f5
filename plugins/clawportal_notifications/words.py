"""What a mail says, as text and as HTML, in the language of whoever gets it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape
from markupsafe import Markup

from clawportal.sdk import _m
from clawportal.sdk.fleet import Portal
from clawportal_notifications import choices
from clawportal_notifications.models import WAY_CHANGED, Line

CHANGED = _m("How I am told of things was changed")


@dataclass(frozen=True)
class Said:
    """A line as a mail shows it."""

    title: str
    text: str
    count: int
    at: str
    link: str
    level: str


def said(portal: Portal, line: Line, language: str) -> Said:
    known, catalogues = choices.interests(portal).get(line.interest), portal.registry.catalogues
    title = catalogues.label(known.title if known else CHANGED if line.interest == WAY_CHANGED else line.interest, language)
    text, public = catalogues.text(line.message, language), portal.settings.public_url.rstrip("/")
    at = line.at.strftime("%Y-%m-%d %H:%M UTC")
    return Said(str(title), str(text), line.count, at, f"{public}{line.path}" if public and line.path else "", line.level)


@dataclass(frozen=True)
class Text:
    subject: str
    text: str
    html: str


def of_lines(portal: Portal, lines: Sequence[Said], language: str) -> Text:
    public = portal.settings.public_url.rstrip("/")
    return _made(portal, "digest", language, lines=lines, settings=f"{public}/profile/notifications" if public else "")


def of_route(portal: Portal, line: Said) -> Text:
    """The words come translated; around them there are none."""
    return _made(portal, "route", "en", line=line)


def of_code(portal: Portal, name: str, code: str, language: str) -> Text:
    return _made(portal, "code", language, name=name, code=code)


def of_test(portal: Portal, language: str) -> Text:
    return _made(portal, "test", language)


def _made(portal: Portal, template: str, language: str, **values: Any) -> Text:
    catalogue = portal.registry.catalogues.of(language or "en")

    def word(text: str, **more: Any) -> str:
        found = catalogue.ugettext(text)
        return str(found % more) if more else str(found)

    def marked(text: str, **more: Any) -> Markup:
        return Markup(catalogue.ugettext(text)) % more  # noqa: S704 - a sentence of ours; what is put in is escaped

    def shown(kind: str, words: Any) -> str:
        return _templates().get_template(f"mail/{template}.{kind}").render(_=words, language=language or "en", **values)

    subject, _newline, text = shown("txt", word).partition("\n")
    return Text(subject, text.lstrip("\n"), shown("html", marked))


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates" / "notifications"),
        autoescape=select_autoescape(("html",)), trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
