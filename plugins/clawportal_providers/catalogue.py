"""The providers that the portal knows by name, with their addresses as their own documents state them."""

from __future__ import annotations

from clawportal.sdk import _m
from clawportal.sdk.providers import ModelList, ModelProvider

PROVIDERS = (
    ModelProvider(
        "openai-compatible", _m("OpenAI-compatible server"),
        _m("Your own server: vLLM, Ollama, LiteLLM and others. Needs its address."),
        base_url_example="http://llm.example.internal/v1", key="optional", key_example="sk-…", group="first", order=20,
    ),
    ModelProvider(
        "openai", "OpenAI", _m("Needs an API key."), base_url="https://api.openai.com/v1", key_name="OPENAI_API_KEY",
        key_example="sk-…", key_url="https://platform.openai.com/api-keys", model_example="gpt-5-mini", group="first", order=30,
    ),
    ModelProvider(
        "anthropic", "Anthropic", _m("Needs an API key."), dialect="anthropic", base_url="https://api.anthropic.com/v1",
        key_name="ANTHROPIC_API_KEY", key_example="sk-ant-…", key_url="https://console.anthropic.com/settings/keys",
        key_header="x-api-key", headers={"anthropic-version": "2023-06-01"}, models=ModelList("models", title="display_name"),
        model_example="claude-sonnet-4-5", group="first", order=40,
    ),
)  # fmt: skip
