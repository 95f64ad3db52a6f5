"""Package indexes with a password: the one percent-encoded address that people write, in the form that each tool understands.

pip decodes user and password out of an address. npm sends them as they are written, so `p%40ss` never works there, and notes the
address in its logs; it gets them in a file of its own instead, which goes with the installation.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from clawportal.sdk import redact

NPMRC = "npmrc"
"""npm's own file of settings, beside the home of one installation."""


def for_npm(environment: Mapping[str, str], npmrc: Path) -> dict[str, str]:
    """The environment without user and password in the address of the registry, and without logs that outlive the tool."""
    name, parts = _registry(environment)
    found = {**environment, "npm_config_logs_max": "0"}
    if parts is None:
        return found
    kept = {key: value for key, value in found.items() if key.lower() != "npm_config_userconfig"}
    where = parts.netloc.rpartition("@")[2]
    return {**kept, name: parts._replace(netloc=where).geturl(), "npm_config_userconfig": str(npmrc)}


def npmrc(environment: Mapping[str, str]) -> str:
    """What npm's own file of settings has to say: the sign-in, after what the administrator's file says. Often nothing.

    For the whole host: packages may lie elsewhere than their descriptions. Not as variables: a shell drops names like these.
    """
    _name, parts = _registry(environment)
    if parts is None:
        return ""
    login = base64.b64encode(f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()).decode()
    return f"{_given(environment)}\n//{parts.netloc.rpartition('@')[2]}/:_auth={login}\n"


def _given(environment: Mapping[str, str]) -> str:
    path = next((value for name, value in environment.items() if name.lower() == "npm_config_userconfig"), "")
    try:
        return Path(path).read_text(encoding="utf-8") if path else ""
    except (OSError, ValueError):
        return ""


def _registry(environment: Mapping[str, str]) -> tuple[str, SplitResult | None]:
    for name, value in environment.items():
        if name.lower() == "npm_config_registry" and (parts := _with_login(value)):
            return name, parts
    return "", None


def hidden(lines: Iterable[str], values: Iterable[str]) -> tuple[str, ...]:
    """The lines of a tool without the passwords in the addresses of its environment, however it wrote them."""
    return redact.masked(lines, [form for value in values for form in _forms(value)])


def _forms(value: str) -> Iterable[str]:
    parts = _with_login(value)
    if parts is None:
        return ()
    login = base64.b64encode(f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()).decode()
    word = parts.password or parts.username or ""
    return word, unquote(word), login


def _with_login(address: str) -> SplitResult | None:
    try:
        parts = urlsplit(address.strip())
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and parts.hostname and "@" in parts.netloc else None
