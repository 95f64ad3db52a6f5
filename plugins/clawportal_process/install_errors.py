"""What the words of an installer mean: what may heal by itself, what cannot, and what a person can do about it."""

from __future__ import annotations

import re

from clawportal.sdk import _m, _n, redact
from clawportal.sdk.errors import GiveUp, Retry
from clawportal_process import guarded

_UNREACHABLE = re.compile(
    r"NewConnectionError|Failed to establish a new connection|Connection refused|Connection reset by peer|RemoteDisconnected"
    r"|ConnectTimeoutError|ReadTimeoutError|Read timed out|ProxyError|SSLError|CERTIFICATE_VERIFY_FAILED|NameResolutionError"
    r"|Temporary failure in name resolution|Name or service not known|Network is unreachable|No route to host"
    r"|\b50[234] (?:Server Error|Bad Gateway|Service Unavailable)"
    r"|ECONNREFUSED|ECONNRESET|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|UNABLE_TO_(?:GET|VERIFY)|SELF_SIGNED_CERT"
)
_FULL = re.compile(r"No space left on device|ENOSPC|Disk quota exceeded|EDQUOT")
REFUSED = re.compile(
    r"\b40[13] Error, Credentials not correct|\b40[13] Client Error|\bE40[13]\b|\bENEEDAUTH\b|\b407 Proxy Authentication Required"
    r"|Incorrect or missing password|\b40[13] (?:Unauthorized|Forbidden)"
)
_UNKNOWN = re.compile(r"No matching distribution found|Could not find a version|\bE404\b|\bETARGET\b|No matching version")
_VENV = re.compile(r"ensurepip is not available|No module named '?(?:venv|ensurepip)")
_NOISE = re.compile(r"^npm (?:http|warn|notice)|A complete log of this run|^\[notice\]|^WARNING: Retrying", re.IGNORECASE)


def clean(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Without passwords of indexes and proxies."""
    return tuple(map(redact.address, lines))


def disk_full(title: str, words: str) -> GiveUp:
    return GiveUp(
        _n("DiskFull"),
        _m("%(title)s cannot be installed: %(words)s.", title=title, words=words),
        _m("Free some space on the disk that holds the portal's data, then retry."),
    )


def verdict(title: str, outcome: guarded.Outcome) -> GiveUp | Retry:
    """What the tool's words mean. The index comes first: pip also says `no matching distribution` when it reached none."""
    lines = clean(outcome.lines)
    text = "\n".join(lines)
    words = _essence(lines)
    if _FULL.search(text):
        return GiveUp(
            _n("DiskFull"),
            _m("%(title)s cannot be installed: no space left on device.", title=title),
            _m("Free some space on the disk that holds the portal's data, then retry."),
            lines,
        )
    if _UNREACHABLE.search(text):
        return GiveUp(
            _n("IndexUnreachable"),
            _m("The package index does not answer, so %(title)s cannot be installed: %(words)s", title=title, words=words),
            _m(
                "Check the network, or set CLAWPORTAL_PIP_INDEX_URL or CLAWPORTAL_NPM_REGISTRY to an index that this machine"
                " can reach; then retry."
            ),
            lines,
        )
    if REFUSED.search(text):
        return refused(title, lines)
    if _UNKNOWN.search(text):
        return GiveUp(
            _n("PackageNotFound"),
            _m("The package index does not have %(title)s: %(words)s", title=title, words=words),
            _m("Choose another version, or add it to your index."),
            lines,
        )
    if _VENV.search(text):
        return GiveUp(
            _n("VenvMissing"),
            _m("This Python cannot make virtual environments."),
            _m("Debian and Ubuntu: apt install python3-venv."),
            lines,
        )
    return GiveUp(
        _n("InstallFailed"),
        _m("%(title)s cannot be installed: %(words)s", title=title, words=words),
        _m("Read the tool's words, correct what they name, then retry."),
        lines,
    )


def refused(title: str, lines: tuple[str, ...]) -> GiveUp:
    words = _essence(lines)
    return GiveUp(
        _n("IndexRefused"),
        _m(
            "The package index refused the portal's sign-in, so %(title)s cannot be installed: %(words)s",
            title=title,
            words=words,
        ),
        _m(
            "Correct user and password in CLAWPORTAL_PIP_INDEX_URL or CLAWPORTAL_NPM_REGISTRY; write letters such as @ in them"
            " percent-encoded, as %40; then retry."
        ),
        lines,
    )


def _essence(lines: tuple[str, ...]) -> str:
    """The sentence in which the tool itself says what is wrong."""
    telling = [line for line in lines if not _NOISE.search(line)] or list(lines)
    errors = [line for line in telling if re.match(r"(?:ERROR|npm (?:error|ERR!)|Error)\b", line)]
    chosen = (errors or telling)[:3] if any("npm" in line[:4] for line in errors) else (errors or telling)[-1:]
    unreachable = next((line for line in lines if _UNREACHABLE.search(line)), "")
    return " ".join([*chosen, unreachable] if unreachable and unreachable not in chosen else chosen)[:600] or "it said nothing"
