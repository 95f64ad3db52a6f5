"""The bundled adapters keep to the rules that every adapter has to keep to."""

from __future__ import annotations

from clawportal.testing.adapters import AdapterConformance
from clawportal_echo import EchoAdapter
from clawportal_nanobot.adapter import NanobotAdapter
from clawportal_openclaw.adapter import OpenClawAdapter


class TestEcho(AdapterConformance):
    adapter = EchoAdapter()
    tried = ({"greeting": "Grüße", "log_every": 0.5}, {"flood": 1000, "refuse": "start"})


class TestNanobot(AdapterConformance):
    adapter = NanobotAdapter()
    tried = (
        {"timezone": "Asia/Shanghai", "exec_enabled": True, "web_enabled": True, "web_search_provider": "brave"},
        {"heartbeat_minutes": 30, "dream_hours": 2, "reasoning_effort": "high"},
    )
    refused = (
        ({"settings": {"web_enabled": True, "web_search_provider": "tavily"}}, frozenset(), "secrets.web_search_key"),
        ({"settings": {"web_enabled": True, "web_search_provider": "searxng"}}, frozenset(), "settings.web_search_url"),
    )


class TestOpenClaw(AdapterConformance):
    adapter = OpenClawAdapter()
    tried = (
        {"control_ui": True, "exec_mode": "full", "thinking": "high", "memory_plugin": True, "learn_skills": "propose"},
        {"control_ui_origins": ["https://claw.example.internal"], "heartbeat_minutes": 30, "automations": True},
    )
    refused = (
        ({"expose": True, "settings": {"control_ui": True}}, frozenset(), "settings.control_ui_origins"),
        ({"resources": {"memory": "1Gi"}}, frozenset(), "settings.heap_mb"),
    )
