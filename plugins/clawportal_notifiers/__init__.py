"""Tells facts to a log or to a web address."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from clawportal.sdk import _m, hookimpl

SUMMARY = _m("Tells facts to a log or to a web address.")

if TYPE_CHECKING:
    from clawportal.sdk.notifiers import Notifier


@hookimpl
def register_notifiers() -> Iterable[Notifier]:
    from clawportal_notifiers.to_log import ToLog
    from clawportal_notifiers.webhook import Webhook

    return (ToLog(), Webhook())
