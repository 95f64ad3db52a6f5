"""OpenClaw: the large personal agent in Node.js, installed from npm and run as one gateway for each instance.

Facts that shaped this: its configuration is strict and exit code 78 means "refused, do not try again"; with
OPENCLAW_CONFIG_READONLY=1 it treats our file as the truth and still follows most changes while it runs; it works in the
background by default, all of which is switched off here.
"""

from __future__ import annotations

from clawportal.sdk import _m, hookimpl
from clawportal.sdk.adapters import Adapter
from clawportal_openclaw.adapter import OpenClawAdapter

SUMMARY = _m("OpenClaw: the large personal agent in Node.js, installed from npm and run as one gateway for each instance.")


@hookimpl
def register_adapters() -> list[Adapter]:
    return [OpenClawAdapter()]
