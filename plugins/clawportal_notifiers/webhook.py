"""Posts each notice as a JSON document to a web address."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import urlsplit

from clawportal.sdk import _m
from clawportal.sdk.addresses import carries_credentials, endpoint
from clawportal.sdk.errors import GiveUp, Retry
from clawportal.sdk.notifiers import Notice

SECONDS = 10.0
"""For connecting, asking and the head of the answer together."""
MOST = 64 * 1024
"""Bytes of such a head."""
_LATER = (408, 425, 429)


class Webhook:
    kind = "webhook"
    title = _m("A web address")

    def check(self, to: str) -> str:
        if not _can_be_asked(to):
            return "For a webhook, write an address with http or https, such as https://hooks.example.com/claws."
        return "Write the address without a user or password inside." if carries_credentials(to) else ""

    def send(self, notice: Notice, to: str) -> None:
        if not _can_be_asked(to):
            raise GiveUp("WebhookUnreadable", f"{endpoint(to)} begins no address that can be asked")
        sent = {"Content-Type": "application/json", "X-Clawportal-Event": str(notice.event.seq)}
        status = _posted(to, document(notice), sent)
        if status >= 500 or status in _LATER:
            raise Retry("WebhookBusy", f"{endpoint(to)} answers {status}", timedelta(seconds=5))
        if status >= 300:
            raise GiveUp("WebhookRefused", f"{endpoint(to)} answers {status}")


# what is raised names the host alone: many services put what lets one in into the rest of the address


def _can_be_asked(to: str) -> bool:
    """Whether it is an address, for us and for the client that asks it."""
    import httpx  # late: a portal without such a route need not load it

    try:
        parts = urlsplit(to)
        return parts.scheme in ("http", "https") and bool(httpx.URL(to).host) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        return False


def _posted(to: str, content: str, headers: Mapping[str, str]) -> int:
    """The status of the answer. Nobody reads its body: it may be endless."""
    import httpx

    from clawportal.sdk.bounded import Budget
    from clawportal.sdk.http_client import bind, within

    try:
        with bind(httpx.Client(timeout=SECONDS, follow_redirects=False)) as client, within(Budget(SECONDS, MOST)):
            client.event_hooks = {}  # how a body is packed is all the same to whoever does not read it
            with client.stream("POST", to, content=content, headers=dict(headers)) as answer:
                return answer.status_code
    except (httpx.HTTPError, OSError, UnicodeError) as error:
        raise Retry("WebhookUnreachable", f"{endpoint(to)} does not answer: {type(error).__name__}") from error


def document(notice: Notice) -> str:
    """What is posted. Members are only added to it."""
    event = notice.event
    return json.dumps(
        {
            "seq": event.seq, "kind": event.kind, "at": event.at.isoformat(), "level": event.level, "reason": event.reason,
            "title": notice.title, "text": notice.text, "tenant": notice.tenant, "instance_id": event.instance_id,
            "actor": event.actor, "link": notice.link,
        },
        ensure_ascii=False,
    )  # fmt: skip
