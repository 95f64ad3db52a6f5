"""What every adapter has to keep to, as tests: subclass `AdapterConformance`, name your adapter, and run pytest.

    class TestMine(AdapterConformance):
        adapter = MyAdapter()
        refused = [({"settings": {"speed": 5}, "expose": True}, frozenset(), "settings.speed")]

Needs pytest, hypothesis and jsonschema. Nothing is installed or started; a claw that runs is the matter of other tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import PurePosixPath
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from clawportal.contracts.adapters import Adapter, HealthState
from clawportal.contracts.specs import InstanceSpec, parse_quantity
from clawportal.contracts.workloads import Context, Model, Workload
from clawportal.errors import FieldError
from clawportal.testing.fakes import MODEL_KEY, LoopbackIO, default_version, free_ports, make_context, rude_server

jsonschema = pytest.importorskip("jsonschema")

CAPABILITIES = frozenset({"model", "model-query", "chat", "persona", "check", "hot-config", "attachments"})
_WORD = re.compile(r"^[a-z][a-z0-9_-]{0,62}$")
_CAMEL = re.compile(r"^[A-Z][A-Za-z0-9]*$")
_EXACT = re.compile(r"^(?:@?[\w./-]+@[\w.+-]+|[\w.\[\],-]+==[\w.+!-]+)$")
_MARK = "MARK-5f1c-äöü-中文"

Refusal = tuple[dict[str, Any], frozenset[str], str]
"""A spec, the names of the secrets that exist, and the path of the field that `validate` has to name."""

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
_log_keys = st.sampled_from(["message", "level", "time", "subsystem", "error", "msg", "text"])
_lines = st.one_of(
    st.text(),
    _json.map(json.dumps),
    st.dictionaries(_log_keys, _json).map(json.dumps),
    st.text(st.sampled_from('{}[]|:"\\ \x1b[m0A-')),
)


class AdapterConformance:
    """Override `adapter`; add settings to try in `tried` and specs that it has to refuse in `refused`."""

    adapter: ClassVar[Adapter]
    tried: ClassVar[Sequence[dict[str, Any]]] = ()
    refused: ClassVar[Sequence[Refusal]] = ()

    # ---- helpers

    def versions(self) -> list[str]:
        return [version.version for version in self.adapter.versions()]

    def context(self, **changes: Any) -> Context:
        return make_context(self.adapter, **changes)

    def plans(self) -> list[tuple[Context, Workload]]:
        """A plan for each version and each of the settings to try."""
        contexts = [self.context(version=version) for version in self.versions()]
        contexts += [self.context(spec={"settings": chosen}) for chosen in self.tried]
        contexts += [self.context(spec={"expose": True, "persona": f"# Who\n{_MARK}"}, secrets=[MODEL_KEY])]
        return [(context, self.adapter.plan(context)) for context in contexts]

    # ---- who it is

    def test_it_says_who_it_is(self) -> None:
        claw = self.adapter
        assert _WORD.match(claw.kind), "kind: a lower-case word"
        assert claw.title and claw.description.endswith("."), "description: whole sentences"
        assert claw.capabilities <= CAPABILITIES, f"unknown: {claw.capabilities - CAPABILITIES}"
        assert parse_quantity(claw.suggested_memory) > 0
        assert 0 < claw.startup_seconds <= 1800

    def test_exactly_one_version_is_the_default(self) -> None:
        names = self.versions()
        assert names and len(set(names)) == len(names)
        assert sum(version.default for version in self.adapter.versions()) == 1

    # ---- settings

    def test_the_settings_schema_can_become_a_form(self) -> None:
        for version in self.versions():
            schema = self.adapter.settings_model(version).model_json_schema()
            jsonschema.Draft202012Validator.check_schema(schema)
            for name, field in schema.get("properties", {}).items():
                assert field.get("title") and field.get("description"), f"{name} needs a title and a description"
                assert "default" in field or field.get("x-secret") or name in schema.get("required", ())

    def test_the_defaults_are_valid_settings(self) -> None:
        for version in self.versions():
            model = self.adapter.settings_model(version)
            defaults = model.model_validate({})
            assert model.model_validate(json.loads(defaults.model_dump_json())) == defaults

    def test_what_reaches_further_is_off_by_default(self) -> None:
        """Whoever may only configure a claw must be able to leave each default as it is."""
        for version in self.versions():
            for name, field in self.adapter.settings_model(version).model_json_schema().get("properties", {}).items():
                if "x-safe" in field:
                    assert isinstance(field["x-safe"], list) and field["default"] in field["x-safe"], name

    def test_what_two_claws_must_not_share_says_why(self) -> None:
        for version in self.versions():
            for name, field in self.adapter.settings_model(version).model_json_schema().get("properties", {}).items():
                if "x-unique" in field:
                    assert str(field["x-unique"]).endswith(".") and "default" in field, f"{name}: a sentence, and a default"

    def test_an_unknown_setting_is_refused(self) -> None:
        for version in self.versions():
            with pytest.raises(ValidationError, match="extra_forbidden"):
                self.adapter.settings_model(version).model_validate({"no_such_setting": 1})

    def test_secret_settings_are_text_and_empty_by_default(self) -> None:
        for version in self.versions():
            for name, field in self._secret_fields(version).items():
                assert field.get("type") == "string" and field.get("default", "") == "", name

    def _secret_fields(self, version: str) -> dict[str, Any]:
        properties = self.adapter.settings_model(version).model_json_schema().get("properties", {})
        return {name: field for name, field in properties.items() if field.get("x-secret")}

    # ---- what it needs

    def test_ports_are_named_once(self) -> None:
        for version in self.versions():
            ports = self.adapter.ports(version)
            assert len({port.name for port in ports}) == len({port.default for port in ports}) == len(ports)
            assert all(_WORD.match(port.name) and port.title and 1024 <= port.default < 65536 for port in ports)

    def test_artifacts_are_exact_and_in_order(self) -> None:
        for version in self.versions():
            before: set[str] = set()
            for artifact in self.adapter.artifacts(version):
                assert _WORD.match(artifact.name) and artifact.name not in before
                assert set(artifact.needs) <= before, f"{artifact.name} needs what is not installed before it"
                assert artifact.packages and all(_EXACT.match(package) for package in artifact.packages), "name exact versions"
                assert artifact.expected_packages > 0 and artifact.expected_bytes > 0 and artifact.check
                before.add(artifact.name)

    # ---- the plan

    def test_planning_twice_gives_the_same(self) -> None:
        for context, plan in self.plans():
            again = self.adapter.plan(context)
            assert again == plan and again.digest() == plan.digest()
            assert json.loads(json.dumps(asdict(plan))), "a plan is plain data"

    def test_files_stay_inside_their_roots(self) -> None:
        for _, plan in self.plans():
            assert len({(file.root, file.path) for file in plan.files}) == len(plan.files)
            for file in plan.files:
                path = PurePosixPath(file.path)
                assert path.parts and not path.is_absolute() and ".." not in path.parts and "\x00" not in file.path
                assert file.mode & 0o077 == 0 or file.mode & 0o022 == 0, f"{file.path} may be written by others"

    def test_the_given_ports_are_used(self) -> None:
        context = self.context()
        assert set(self.adapter.plan(context).ports.items()) == set(context.ports.items())
        for name, number in context.ports.items():
            text = _text_of(replace(self.adapter.plan(context), ports={}))
            moved = self.adapter.plan(replace(context, ports={**context.ports, name: number + 1000}))
            assert str(number) in text and str(number + 1000) in _text_of(replace(moved, ports={})), f"port {name} is not used"

    def test_processes_can_be_started_without_a_shell(self) -> None:
        for context, plan in self.plans():
            assert plan.processes and len({process.name for process in plan.processes}) == len(plan.processes)
            for process in plan.processes:
                assert process.argv and all(part and "\x00" not in part for part in process.argv)
                assert process.argv[0].startswith("/") or "/" not in process.argv[0]
                assert not set(process.env) & set(process.secret_env), "a variable is either plain or secret"
                assert set(process.secret_env.values()) <= context.secrets
            assert plan.artifacts == self.adapter.artifacts(context.version)
            assert 0 < plan.stop_grace <= 600

    def test_a_check_judges_a_candidate(self) -> None:
        for context, plan in self.plans():
            assert (plan.check is not None) == ("check" in self.adapter.capabilities)
            if plan.check:
                assert any("{candidate}" in part for part in (*plan.check.argv, *plan.check.env.values()))
                assert 0 < plan.check.timeout <= 600 and set(plan.check.secret_env.values()) <= context.secrets

    def test_generated_secrets_are_used_by_name_only(self) -> None:
        for version in self.versions():
            names = self.adapter.generated_secrets(version)
            assert len(set(names)) == len(names) and all(_WORD.match(name) for name in names)
            plan = self.adapter.plan(self.context(version=version))
            assert set(names) <= {name for process in plan.processes for name in process.secret_env.values()}

    def test_no_secret_value_is_in_the_plan(self) -> None:
        for version in self.versions():
            fields = self._secret_fields(version)
            context = self.context(
                version=version, spec={"settings": dict.fromkeys(fields, "VALUE-OF-A-SECRET")}, secrets=[*fields, MODEL_KEY]
            )
            assert "VALUE-OF-A-SECRET" not in _text_of(self.adapter.plan(context))

    def test_exposing_it_changes_where_it_listens(self) -> None:
        if self.adapter.ports(default_version(self.adapter)):
            closed, opened = (self.adapter.plan(self.context(spec={"expose": expose})) for expose in (False, True))
            assert closed.digest() != opened.digest()

    def test_the_persona_reaches_its_files(self) -> None:
        if "persona" in self.adapter.capabilities:
            told = self.adapter.plan(self.context(spec={"persona": _MARK}))
            assert any(_MARK in file.content for file in told.files)
            assert not any(_MARK in file.content for file in self.adapter.plan(self.context()).files)

    def test_the_model_reaches_its_configuration(self) -> None:
        if "model" not in self.adapter.capabilities:
            return
        for model in (
            Model("openai-compatible", "http://llm.example.internal:8000/v1", "corp/large-model"),
            Model("openai", "https://api.openai.com/v1", "gpt-5-mini"),
            Model("anthropic", "https://api.anthropic.com/v1", "claude-opus-4-6", "anthropic"),
        ):
            keyed = self.adapter.plan(self.context(model=model, secrets=[MODEL_KEY]))
            assert model.name in _text_of(keyed)
            assert MODEL_KEY in {name for process in keyed.processes for name in process.secret_env.values()}
            bare = self.adapter.plan(self.context(model=model))
            assert MODEL_KEY not in {name for process in bare.processes for name in process.secret_env.values()}

    # ---- judging what people ask for

    def test_the_defaults_are_accepted(self) -> None:
        assert self.adapter.validate(InstanceSpec.model_validate({}), frozenset()) == []
        for chosen in self.tried:
            spec = InstanceSpec.model_validate({"settings": chosen})
            assert self.adapter.validate(spec, frozenset(self._secret_fields(default_version(self.adapter)))) == []

    def test_refusals_name_the_field(self) -> None:
        for document, secrets, path in self.refused:
            findings = self.adapter.validate(InstanceSpec.model_validate(document), secrets)
            assert path in [finding.path for finding in findings], f"{document} is not refused at {path}: {findings}"
            assert all(isinstance(finding, FieldError) and finding.path and finding.message for finding in findings)

    # ---- what a claw says

    def test_any_line_of_a_log_can_be_read(self) -> None:
        @settings(max_examples=150, deadline=None, database=None)
        @given(line=_lines)
        def holds(line: str) -> None:
            record = self.adapter.parse_log(line)
            assert isinstance(record.message, str) and record.level in ("debug", "info", "warning", "error", "")

        holds()

    def test_any_exit_can_be_explained(self) -> None:
        @settings(max_examples=150, deadline=None, database=None)
        @given(code=st.none() | st.integers(0, 255), signal=st.none() | st.integers(1, 64), lines=st.lists(_lines, max_size=4))
        def holds(code: int | None, signal: int | None, lines: list[str]) -> None:
            verdict = self.adapter.explain_exit(code, signal, tuple(lines))
            assert _CAMEL.match(verdict.reason) and verdict.message
            assert verdict.retry or verdict.remedy, "what cannot be tried again needs a remedy"

        holds()

    # ---- changes

    def test_the_same_plan_changes_nothing(self) -> None:
        for _, plan in self.plans():
            assert self.adapter.change(plan, plan).action == "none"

    def test_a_change_says_what_it_takes(self) -> None:
        plans = [plan for _, plan in self.plans()]
        for old in plans:
            for new in plans:
                change = self.adapter.change(old, new)
                assert change.action in ("none", "hot", "restart")
                assert change.reason or change.action == "none"

    def test_what_is_started_differently_is_restarted(self) -> None:
        _, plan = self.plans()[0]
        first = plan.processes[0]
        other = replace(plan, processes=(replace(first, env={**first.env, "OTHER": "1"}), *plan.processes[1:]))
        assert self.adapter.change(plan, other).action == "restart"

    def test_other_ports_need_a_restart(self) -> None:
        context = self.context()
        if context.ports:
            moved = replace(context, ports={name: number + 1000 for name, number in context.ports.items()})
            assert self.adapter.change(self.adapter.plan(context), self.adapter.plan(moved)).action == "restart"

    # ---- talking to what is not there, or not well

    def test_a_claw_that_is_not_there_is_not_healthy(self) -> None:
        context = self.context()
        io = LoopbackIO(free_ports(context.ports), {})
        health = self.adapter.health(io, context)
        assert health.state is not HealthState.HEALTHY and _CAMEL.match(health.reason) and health.message

    @pytest.mark.parametrize(
        "answer",
        [b"", b"\x00\xff garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<html", b"HTTP/1.1 500 Oops\r\n\r\n{}"],
    )
    def test_nonsense_is_neither_health_nor_a_crash(self, answer: bytes) -> None:
        context = self.context()
        with rude_server(answer) as port:
            io = LoopbackIO(dict.fromkeys(context.ports, port), dict.fromkeys(context.secrets, "s"))
            assert self.adapter.health(io, context).state is not HealthState.HEALTHY
            if "chat" in self.adapter.capabilities:
                events = list(self.adapter.chat(io, context, "s1", "hello"))
                assert events and events[-1].kind == "error" and events[-1].text

    def test_chat_with_nobody_ends_in_one_error(self) -> None:
        if "chat" in self.adapter.capabilities:
            context = self.context()
            events = list(self.adapter.chat(LoopbackIO(free_ports(context.ports), {}), context, "s1", "hello"))
            assert [event.kind for event in events] == ["error"] and events[0].text


def _text_of(plan: Workload) -> str:
    """All that a plan says, with file contents as they stand in the file."""
    return json.dumps(asdict(plan), ensure_ascii=False) + "".join(file.content for file in plan.files)
