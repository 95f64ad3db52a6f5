"""Model providers: whom a claw can ask for its language model, how they are spoken to, and what people need for it.

Plugins bring them with the hook `register_model_providers`. Only data: nothing here talks to anybody.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

Dialect = Literal["openai", "anthropic"]
"""How a model's API is spoken to: OpenAI's chat completions, or Anthropic's messages."""
DIALECTS: tuple[str, ...] = get_args(Dialect)

_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")


@dataclass(frozen=True)
class ModelList:
    """How a provider tells which models it has."""

    url: str = "models"
    """Below the base URL; or a whole address."""
    items: str = "data"
    """Name of the list inside the answer; empty: the answer is the list."""
    id: str = "id"
    """Field with the name by which a model is asked for."""
    title: str = ""
    """Field with its name for people; empty: there is none."""
    prefix: str = ""
    """Stands in front of each id there, and is left out when the model is asked for."""


@dataclass(frozen=True)
class ModelProvider:
    """Who serves language models."""

    id: str
    """By which a spec chooses it: small letters, digits and dashes. Never changes: keys are bound to it."""
    title: str
    description: str = ""
    """One or two sentences for whoever chooses."""
    dialect: Dialect = "openai"
    base_url: str = ""
    """Address of its API with the version, such as `https://api.example.com/v1`. Empty: people have to say it, unless it is
    `served`."""
    base_url_example: str = ""
    """What such an address looks like, where people have to say it."""
    key: Literal["needed", "optional", "none"] = "needed"
    key_name: str = ""
    """What the provider's own documents call the key, such as `OPENAI_API_KEY`."""
    key_example: str = ""
    """How keys begin, such as `sk-…`."""
    key_url: str = ""
    """Page where people get a key."""
    key_header: Literal["authorization", "x-api-key", "api-key"] = "authorization"
    """How the portal itself sends the key: `Authorization: Bearer KEY`, or alone in a header."""
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What the portal itself sends beside it, such as the version of the API."""
    models: ModelList | None = field(default_factory=ModelList)
    """None: it gives no list."""
    model_example: str = ""
    fixed_sampling: tuple[str, ...] = ()
    """Patterns (`kimi-k3*`) of names of models that refuse every temperature but their own."""
    served: bool = False
    """The portal serves it itself, by a `ModelService`: it needs no address, no name of a model and no key, and a choice of it
    without any says as little as no choice."""
    notice: str = ""
    """What people should know while they talk to a claw that uses it; empty: nothing."""
    documents: str = ""
    """Page of its documentation."""
    group: Literal["first", "cloud", "gateway", "own"] = "cloud"
    """Where it stands in a choice: offered at once, or among further ones."""
    order: int = 100
    """Smaller comes first."""

    @property
    def needs_address(self) -> bool:
        return not self.base_url and not self.served

    def has_fixed_sampling(self, model: str) -> bool:
        """Whether a model refuses every temperature but its own."""
        name = model.rpartition("/")[2].lower()
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.fixed_sampling)


def flaw(provider: Any) -> str:
    """What is wrong with what a plugin registers; empty where nothing is."""
    if not isinstance(provider, ModelProvider):
        return f"{provider!r} is no ModelProvider"
    if not _ID.fullmatch(provider.id):
        return f"the id {provider.id!r} must be 1 to 40 small letters, digits and dashes"
    if not provider.title:
        return f"{provider.id} needs a title"
    if provider.dialect not in DIALECTS:
        return f"{provider.id} speaks {provider.dialect!r}; known are {', '.join(DIALECTS)}"
    wrong = [url for url in (provider.base_url, provider.key_url, provider.documents) if url and not _is_address(url)]
    return f"{provider.id} has {wrong[0]!r}, which is no address with http or https" if wrong else ""


def _is_address(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


class ModelProviders(Mapping[str, ModelProvider]):
    """Those of the loaded plugins, in the order in which they are offered."""

    def __init__(self, given: Mapping[str, ModelProvider] | None = None) -> None:
        ordered = sorted((given or {}).values(), key=lambda one: (one.order, one.id))
        self._by_id = {one.id: one for one in ordered}

    def __getitem__(self, provider: str) -> ModelProvider:
        return self._by_id[provider]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_id)

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def served(self) -> tuple[str, ...]:
        """Ids of those that the portal serves itself."""
        return tuple(one.id for one in self._by_id.values() if one.served)

    @property
    def usual(self) -> str:
        """Id of the one that is taken where nobody chose any; empty where each needs more than its name."""
        return next(iter(self.served), "")

    def says_nothing(self, choice: Mapping[str, Any]) -> bool:
        """Whether a choice leaves the model to whoever else has something to say about it: it names neither address nor model
        nor key, and its provider needs none, is not there, or is not named."""
        named = choice.get("base_url") or choice.get("name") or choice.get("credential")
        provider = self._by_id.get(choice.get("provider") or "")
        return not named and (provider is None or provider.served)

    def base_url(self, provider: str, said: str) -> str:
        """The address that holds: as it was said, or else that of the provider."""
        known = self._by_id.get(provider)
        return said or (known.base_url if known else "")
