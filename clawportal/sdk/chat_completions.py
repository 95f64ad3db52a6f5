"""Reading streamed chat completions, for adapters whose claws answer in OpenAI's dialect."""

from __future__ import annotations

from clawportal.chat_completions import events, json_object, words_of

__all__ = ["events", "json_object", "words_of"]
