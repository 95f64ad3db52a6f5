"""Model providers are a registry: plugins fill it, everybody reads it, and what runs is not restarted because of it."""

from __future__ import annotations

import ast
import importlib
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import clawportal
from clawportal import pluginmanager
from clawportal.contracts.adapters import dialects_of
from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.providers import DIALECTS, ModelProvider, ModelProviders, flaw
from clawportal.contracts.specs import InstanceSpec
from clawportal.db import db, transaction
from clawportal.errors import GiveUp, Invalid
from clawportal.models import Instance
from clawportal.services.configuration import layers
from clawportal.services.fleet import instances, plans
from clawportal.services.fleet.instances import NewInstance
from clawportal.testing.fakes import make_context
from clawportal_nanobot.adapter import NanobotAdapter
from clawportal_openclaw.adapter import OpenClawAdapter
from tests.core.world import World

ROOT = Path(clawportal.__file__).parent.parent
KNOWN = pluginmanager.load(pluginmanager.BUNDLED).providers

DIGESTS: tuple[tuple[dict[str, str], str, str], ...] = (
    ({"provider": "practice"}, "e0402a8fe6c16b44", "ab7a514585ea1bd7"),
    ({"provider": "practice", "name": "x"}, "70351d8d2193c2a6", "c26b4cd3118bc599"),
    ({"provider": "openai", "name": "gpt-5-mini"}, "48634f6b10103c40", "afee176225b74755"),
    (
        {"provider": "openai", "name": "gpt-5-mini", "base_url": "https://proxy.example/v1"},
        "bab078679b583e1b",
        "f9315365ff478ddf",
    ),
    ({"provider": "anthropic", "name": "claude-opus-4-6"}, "1f029f653ef8802c", "20c540c0e3d1dbf4"),
    (
        {"provider": "openai-compatible", "name": "kimi-k2.5", "base_url": "http://llm.example/v1"},
        "3192d1fd3a542950",
        "942fe0aa99e840ad",
    ),
    (
        {"provider": "openai-compatible", "name": "qwen3", "base_url": "http://llm.example/v1"},
        "ee44077395bac81e",
        "4bbc6b106897810d",
    ),
)
"""What nanobot and OpenClaw ran with before there was a registry."""


def module(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> str:
    (folder / f"{name}.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    return name


# ---- the registry


@pytest.mark.parametrize("provider", KNOWN.values(), ids=lambda one: one.id)
def test_what_is_bundled_can_be_used(provider: ModelProvider) -> None:
    assert flaw(provider) == ""
    assert provider.served or provider.base_url or provider.base_url_example, "people have to know what to type"
    assert provider.key != "needed" or provider.key_url, "and where to get a key"


@pytest.mark.parametrize(
    ("provider", "word"),
    [
        (ModelProvider("Has Spaces", "X"), "small letters"), (ModelProvider("", "X"), "small letters"),
        (ModelProvider("x", ""), "title"), (ModelProvider("x", "X", base_url="ftp://x"), "http"),
        (ModelProvider("x", "X", key_url="x"), "http"), (ModelProvider("x", "X", dialect="latin"), "latin"),  # type: ignore[arg-type]
        ("x", "ModelProvider"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told(provider: Any, word: str) -> None:
    assert word in flaw(provider)


def test_they_are_offered_in_order() -> None:
    given = [ModelProvider("b", "B", order=5), ModelProvider("z", "Z", order=1), ModelProvider("a", "A", order=5)]
    assert list(ModelProviders({one.id: one for one in given})) == ["z", "a", "b"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ('[ModelProvider("openai", "Mine", base_url="https://x.example/v1")]', "there already"),
        ('[ModelProvider("no good", "Mine")]', "small letters"), ('["x"]', "ModelProvider"),
    ],
)  # fmt: skip
def test_a_plugin_that_registers_nonsense_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, word: str
) -> None:
    name = module(
        tmp_path,
        monkeypatch,
        f"nonsense_{abs(hash(body))}",
        f"""
        from clawportal.sdk import hookimpl
        from clawportal.sdk.providers import ModelProvider

        @hookimpl
        def register_model_providers(): return {body}
        """,
    )
    registry = pluginmanager.load((*pluginmanager.BUNDLED, name))
    assert word in registry.faults[0].message and registry.providers["openai"].title == "OpenAI"


def test_a_provider_of_a_plugin_is_offered_checked_and_planned(
    make_world: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = module(
        tmp_path,
        monkeypatch,
        "parrot_cloud",
        """
        from clawportal.sdk import hookimpl
        from clawportal.sdk.providers import ModelProvider

        @hookimpl
        def register_model_providers():
            return [ModelProvider("parrot-cloud", "Parrot Cloud", base_url="https://api.parrot.example/v1", dialect="anthropic",
                                  fixed_sampling=("ara-*",))]
        """,
    )
    world = make_world(start=False, plugins=",".join((*pluginmanager.BUNDLED, name)))
    choice = {"provider": "parrot-cloud", "name": "ara-1"}
    wanted = NewInstance("one", "nanobot", spec={"model": choice})
    with world.context() as portal:
        assert [error.path for error in instances.check_new(portal, SYSTEM, wanted)] == ["secrets.model_api_key"]
        row = instances.create(portal, SYSTEM, NewInstance("one", "nanobot", spec={"model": choice}, start=False,
                                                           secrets={"model_api_key": "pk-1"}))  # fmt: skip
        assert layers.destinations_of(portal, row)["model_api_key"] == "parrot-cloud https://api.parrot.example:443"
        model = plans._model(portal, InstanceSpec.model_validate(row.spec), NanobotAdapter(), world.runtime(), "")
        assert (model.base_url, model.api, model.fixed_sampling) == ("https://api.parrot.example/v1", "anthropic", True)


# ---- what is wrong


@pytest.mark.parametrize(
    ("model", "path", "word"),
    [
        ({"provider": "nobody", "name": "x"}, "spec.model.provider", "openai"),
        ({"provider": "Not An Id", "name": "x"}, "spec.model.provider", ""),
        ({"provider": "openai-compatible", "name": "x"}, "spec.model.base_url", "http://"),
        ({"provider": "openai"}, "spec.model.name", "needed"),
    ],
)  # fmt: skip
def test_a_bad_choice_names_the_field(still: World, model: dict[str, str], path: str, word: str) -> None:
    with still.context() as portal, pytest.raises(Invalid) as told:
        instances.create(portal, SYSTEM, NewInstance("one", "nanobot", spec={"model": model}))
    found = {error.path: error.message for error in told.value.errors}
    assert word in found[path]


def test_a_claw_that_does_not_speak_to_it_says_so(still: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class OnlyOpenAI(NanobotAdapter):
        model_dialects = frozenset({"openai"})

    adapter = OnlyOpenAI()
    monkeypatch.setitem(still.portal.registry.adapters, "nanobot", adapter)
    assert dialects_of(adapter) == {"openai"} and dialects_of(NanobotAdapter()) == set(DIALECTS)
    spec = {"model": {"provider": "anthropic", "name": "claude"}}
    with still.context() as portal:
        errors = instances.check_new(
            portal, SYSTEM, NewInstance("one", "nanobot", spec=spec, secrets={"model_api_key": "k-1234"})
        )
    assert [error.path for error in errors] == ["spec.model.provider"] and "Anthropic" in errors[0].message


def test_a_provider_that_went_away_is_told_and_the_key_goes_nowhere(still: World) -> None:
    with still.context() as portal:
        spec, key = {"model": {"provider": "openai", "name": "gpt"}}, {"model_api_key": "sk-1234"}
        one = instances.create(portal, SYSTEM, NewInstance("one", "nanobot", spec=spec, secrets=key, start=False)).id
        with transaction():
            row = db.session.get_one(Instance, one)
            row.spec = {**row.spec, "model": {"provider": "gone", "name": "x", "base_url": ""}}
        row = db.session.get_one(Instance, one)
        assert "model_api_key" not in layers.secrets_for(portal, row)
        with pytest.raises(GiveUp, match="'gone'") as caught:
            plans._model(portal, InstanceSpec.model_validate(row.spec), NanobotAdapter(), still.runtime(), "")
        assert caught.value.reason == "ProviderMissing" and caught.value.remedy


# ---- what runs goes on


@pytest.mark.parametrize(("model", "nanobot", "openclaw"), DIGESTS)
def test_workloads_are_what_they_were(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, model: dict[str, str], nanobot: str, openclaw: str
) -> None:
    monkeypatch.setenv("CLAWPORTAL_PRACTICE_MODEL_PORT", "18799")
    world = make_world(start=False)
    spec, runtime = InstanceSpec.model_validate({"model": model}), world.runtime()
    with world.context() as portal:
        for adapter, digest, settings in ((NanobotAdapter(), nanobot, {"temperature": None}), (OpenClawAdapter(), openclaw, {})):
            chosen = plans._model(portal, spec, adapter, runtime, "")
            given = {"model": model, "settings": settings}
            context = make_context(adapter, spec=given, secrets=["model_api_key"], model=chosen)
            assert adapter.plan(context).digest() == digest


# ---- nobody else


def lists(tree: ast.AST) -> Iterator[tuple[int, set[str]]]:
    """Literal collections and what stands in them."""
    for node in ast.walk(tree):
        parts: list[Any] = []
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            parts = node.elts
        elif isinstance(node, ast.Dict):
            parts = [*node.keys, *node.values]
        yield (
            getattr(node, "lineno", 0),
            {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)},
        )


def test_nobody_else_lists_providers() -> None:
    """Two of them in one collection are a list; those that name dialects are no lists of providers."""
    known, found = set(KNOWN), []
    for file in sorted((*(ROOT / "clawportal").rglob("*.py"), *(ROOT / "plugins").rglob("*.py"))):
        if file.parent.name not in ("clawportal_providers", "clawportal_practice"):
            listed = lists(ast.parse(file.read_text()))
            found += [f"{file.name}:{line}" for line, words in listed if len(words & known) > 1 and not words <= set(DIALECTS)]
    assert found == []
    pages = [*(ROOT / "templates").rglob("*.html"), *(ROOT / "plugins").rglob("*.html")]
    assert [page.name for page in pages for one in known - {"practice"} if f"'{one}'" in page.read_text()] == []
