"""nanobot: a small personal agent in Python, installed from PyPI and run as its gateway.

Facts that shaped this: secrets come by `${NAME}` out of the environment; the folder of config.json is its state; it
watches config.json and SOUL.md, so most changes need no restart; a WebSocket turn ends with `turn_end`.
"""

from __future__ import annotations

from clawportal.sdk import _m, hookimpl
from clawportal.sdk.adapters import Adapter
from clawportal_nanobot.adapter import NanobotAdapter

SUMMARY = _m("nanobot: a small personal agent in Python, installed from PyPI and run as its gateway.")


@hookimpl
def register_adapters() -> list[Adapter]:
    return [NanobotAdapter()]
