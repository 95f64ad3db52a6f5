"""Posts each notice as a JSON document to a web address."""

from __future__ import annotations

import json
from datetime import timedelta
from urllib.parse import urlsplit

from clawportal.sdk import _m
from clawportal.sdk.addresses import carries_credentials, endpoint
from clawportal.sdk.errors import GiveUp, Retry
from clawportal.sdk.notifiers import Notice

SECONDS = 10.0
_LATER = (408, 425, 429)


class Webhook:
    kind = "webhook"
    title = _m("A web address")

    def check(self, to: str) -> str:
        parts = urlsplit(to)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return "For a webhook, write an address with http or https, such as https://hooks.example.com/claws."
        return "Write the address without a user or password inside." if carries_credentials(to) else ""

    def send(self, notice: Notice, to: str) -> None:
        import httpx  # late: a portal without such a route need not load it

        sent = {"Content-Type": "application/json", "X-Clawportal-Event": str(notice.event.seq)}
        try:
            answer = httpx.post(to, content=document(notice), headers=sent, timeout=SECONDS, follow_redirects=False)
        except httpx.HTTPError as error:
            raise Retry("WebhookUnreachable", f"{endpoint(to)} does not answer: {type(error).__name__}") from error
        if answer.status_code >= 500 or answer.status_code in _LATER:
            raise Retry("WebhookBusy", f"{endpoint(to)} answers {answer.status_code}", timedelta(seconds=5))
        if answer.status_code >= 300:
            raise GiveUp("WebhookRefused", f"{endpoint(to)} answers {answer.status_code}")


# what is raised names the host alone: many services put what lets one in into the rest of the address


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
