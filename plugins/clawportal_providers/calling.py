"""One request to a model provider, bounded in time and size, and how it ended in words.

A redirect is told, never followed: a key goes to the host that it was entered for and to no other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from clawportal.sdk import _m, redact
from clawportal.sdk.addresses import endpoint
from clawportal.sdk.bounded import Budget, parse_json
from clawportal.sdk.providers import ModelProvider

if TYPE_CHECKING:
    import httpx

SECONDS = 30.0
"""For one request and its whole answer."""
_SENTENCE = 300
"""Letters of what a provider said that are shown."""
_PARTLY = re.compile(r"\b(sk|gsk|xai|AIza)[-_][\w*.-]{6,}")
"""A key of which a provider shows only a part."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
OK, FAILED, SKIPPED, UNSURE = "ok", "failed", "skipped", "unsure"


@dataclass(frozen=True)
class Target:
    """What is asked."""

    provider: ModelProvider
    base_url: str
    model: str
    key: str = ""
    reach: Callable[[str], bool] | None = None
    """Which addresses may be asked; None: all."""


@dataclass(frozen=True)
class Step:
    name: str
    """`address`, `key`, `model`, `answer`, `tools` or `usage`."""
    state: str
    message: str = ""
    said: str = ""
    """The provider's own words, cut and without secrets."""
    remedy: str = ""


class Refused(Exception):
    """The provider did not do what was asked."""

    def __init__(self, step: Step, status: int = 0) -> None:
        super().__init__(step.message)
        self.step, self.status = step, status


class _Answer:
    """One answer, inside of its budget, closed at the end."""

    def __init__(self, target: Target, method: str, url: str, most: int, body: Mapping[str, Any] | None) -> None:
        self._target, self._method, self._url, self._body = target, method, url, body
        self._budget = Budget(SECONDS, most)

    def __enter__(self) -> httpx.Response:
        import httpx  # late, as all that calls out: a portal that asks no provider need not load it

        from clawportal.sdk.http_client import OutOfReach, bind, within

        self._client = bind(httpx.Client(timeout=httpx.Timeout(SECONDS, connect=8.0), trust_env=not _is_near(self._url),
                                         follow_redirects=False), self._target.reach)  # fmt: skip
        self._within = within(self._budget)
        self._within.__enter__()
        try:
            request = self._client.build_request(self._method, self._url, json=self._body, headers=_headers(self._target))
            self._response = self._client.send(request, stream=True)
        except OutOfReach as error:
            self._close()
            raise Refused(_closed(self._target)) from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            self._close()
            raise Refused(_unreached(self._target, error)) from error
        return self._response

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        import httpx

        self._close()
        if isinstance(error, httpx.HTTPError | OSError) and not isinstance(error, Refused):
            raise Refused(_broken(self._target, error)) from error

    def _close(self) -> None:
        self._within.__exit__(None, None, None)
        self._client.close()


def asked(target: Target, method: str, url: str, most: int, body: Mapping[str, Any] | None = None) -> _Answer:
    return _Answer(target, method, url, most, body)


def _is_near(url: str) -> bool:
    """Nobody needs a proxy to reach this machine."""
    return urlsplit(url).hostname in _LOOPBACK


def address(target: Target, path: str) -> str:
    """Below the base URL, whose query stays."""
    base, mark, query = target.base_url.partition("?")
    url = path if "://" in path else f"{base.rstrip('/')}/{path}"
    if endpoint(url) != endpoint(base):
        raise Refused(Step("key", SKIPPED, _m("The list of models is at another host, where the key does not go.")), 404)
    return f"{url}{mark}{query}"


def _headers(target: Target) -> dict[str, str]:
    provider, key = target.provider, target.key
    found = {"User-Agent": "clawportal", "Accept": "application/json, text/event-stream", **provider.headers}
    if key:
        found[provider.key_header] = f"Bearer {key}" if provider.key_header == "authorization" else key
    return found


def document_of(target: Target, answer: httpx.Response, step: str) -> Any:
    judge(target, answer, step)
    raw = answer.read()
    try:
        return parse_json(raw)
    except ValueError as error:
        raise Refused(
            Step("address", FAILED, _no_json(answer), _said(raw, target.key), WRONG_ADDRESS), answer.status_code
        ) from error


def events(target: Target, answer: httpx.Response) -> Iterator[dict[str, Any] | None]:
    """Each event of a stream; None for the mark at its end."""
    if "text/html" in answer.headers.get("content-type", ""):
        raise Refused(Step("address", FAILED, _no_json(answer), _said(answer.read(), target.key), WRONG_ADDRESS))
    seen = False
    for line in answer.iter_lines():
        name, _, rest = line.partition(":")
        if name != "data":
            continue
        if rest.strip() == "[DONE]":
            yield None
            continue
        try:
            event = parse_json(rest)
        except ValueError as error:
            raise Refused(
                Step("answer", FAILED, _m("A part of its answer is no JSON."), _said(rest, target.key), WRONG_DIALECT)
            ) from error
        if isinstance(event, dict):
            seen = True
            if event.get("error"):
                raise Refused(_of_status(target, 500, "answer", json.dumps(event)))
            yield event
    if not seen:
        raise Refused(Step("answer", FAILED, _m("It does not stream its answer as asked."), remedy=WRONG_DIALECT))


def judge(target: Target, answer: httpx.Response, step: str) -> None:
    """Refused for all but success."""
    if answer.is_redirect:
        there = endpoint(urljoin(str(answer.request.url), answer.headers.get("location", "")))
        words = _m("It sends on to %(there)s. The key was not sent there.", there=there)
        raise Refused(
            Step("address", FAILED, words, remedy=_m("Enter the address that is meant, and the key for it.")), answer.status_code
        )
    if not answer.is_success:
        raise Refused(_of_status(target, answer.status_code, step, answer.read()), answer.status_code)


# ---- in words

WRONG_ADDRESS = _m("Check the address: it is that of the API with its version, such as /v1, and not of a web page.")
WRONG_DIALECT = _m("Check that the provider fits the address: each speaks in its own way.")
LATER = _m("Try again in a moment; if it stays so, look at the provider's status page.")
_ANY_KEY = _m("Enter an API key of this provider.")
_NEW_KEY = _m("Make a new key at the provider and enter it here.")


def _of_status(target: Target, status: int, step: str, raw: bytes | str) -> Step:
    said, new = _said(raw, target.key), _NEW_KEY if target.key else _ANY_KEY
    about: dict[int, tuple[str, str, str]] = {
        401: ("key", _m("The key is not accepted.") if target.key else _m("It asks for a key."), new),
        402: ("key", _m("The account has no credit left."), _m("Top it up at the provider.")),
        403: ("key", _m("The key may not do this."), _m("Check what the key is allowed to, and where it may be used from.")),
        404: (
            step,
            _m("There is nothing at this address, or no such model."),
            _m("Check the address and the name of the model."),
        ),
        429: (
            step,
            _m("There are too many requests, or the quota is used up."),
            _m("Wait a moment, or raise the limit at the provider."),
        ),
    }  # fmt: skip
    if status == 404 and step == "answer":
        words = _m("It does not know the model %(model)s, or the address is wrong.", model=target.model)
        return Step("model", FAILED, words, said, _m("Choose a model of its list, as the provider spells it."))
    if status in about:
        name, words, remedy = about[status]
        return Step(name, FAILED, words, said, remedy)
    if status >= 500:
        return Step(step, FAILED, _m("The provider has a fault (%(status)s).", status=status), said, LATER)
    return Step(step, FAILED, _m("It refuses the request (%(status)s).", status=status), said, WRONG_DIALECT)


def _unreached(target: Target, error: Exception) -> Step:
    name, words = endpoint(target.base_url), clean(str(error), target.key)
    if "timed out" in words.lower() or "timeout" in type(error).__name__.lower():
        return Step("address", FAILED, _m("%(name)s does not answer in time.", name=name), words, LATER)
    remedy = _m(
        "Check the address, and that the portal's machine may reach it: a proxy, a firewall or the name may be in the way."
    )
    return Step("address", FAILED, _m("%(name)s cannot be reached.", name=name), words, remedy)


def _closed(target: Target) -> Step:
    """In the same words for every such address, and with none of what a name stands for."""
    words = _m("%(name)s is on the portal's own machine or network, where tests do not go.", name=endpoint(target.base_url))
    remedy = _m("Ask whoever runs the portal to open it: CLAWPORTAL_CREDENTIALS_TEST_NETWORKS names what tests may reach.")
    return Step("address", FAILED, words, remedy=remedy)


def _broken(target: Target, error: Exception) -> Step:
    return Step("answer", FAILED, _m("Its answer took too long or was too large."), clean(str(error), target.key), LATER)


def _no_json(answer: httpx.Response) -> str:
    kind = answer.headers.get("content-type", "").partition(";")[0][:60]
    return _m("It answers with %(kind)s instead of JSON.", kind=kind or "nothing that says what it is")


def _said(raw: bytes | str, key: str) -> str:
    """The sentence of an error in whatever shape it came. What is no JSON is of no provider, and nobody's to read: it may be a
    page of whatever else is at an address that somebody typed."""
    try:
        document = parse_json(raw)
    except ValueError:
        return ""
    return clean(_sentence_in(document), key) if isinstance(document, dict | list) else ""


def _sentence_in(document: Any) -> str:
    """`error.message` mostly, but also `message`, `detail`, `error` or a list of these."""
    if isinstance(document, list):
        document = document[0] if document else None
    if isinstance(document, dict):
        found = (_sentence_in(document[name]) for name in ("error", "message", "detail", "msg") if document.get(name))
        return next((one for one in found if one), "")
    return document if isinstance(document, str) else ""


def clean(text: str, key: str) -> str:
    """One line, cut, and without the key or a part of it that tells: providers repeat what they were sent."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return hidden(text, key)[:_SENTENCE]


def hidden(text: str, key: str) -> str:
    """Without the key; providers also show its beginning and its end, as `sk-ab***yz`."""
    text = redact.Masker((key,))(text)
    if len(key) >= 12:
        text = re.sub(rf"{re.escape(key[:6])}\S*", redact.MASK, text)
    return _PARTLY.sub(redact.MASK, redact.text(text))
