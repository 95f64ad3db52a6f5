"""What a mark is to those who read the audit."""

from __future__ import annotations

from clawportal.sdk import _m
from clawportal.sdk.features import Resource
from clawportal.sdk.permissions import PORTAL_READ

MARK = Resource("checklist_mark", _m("first steps"), key="checklist", read=PORTAL_READ)
