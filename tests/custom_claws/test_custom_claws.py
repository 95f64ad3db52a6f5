"""A kind of claw that a file describes keeps to what every adapter has to, runs for real, and its file is refused in words."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from click.testing import CliRunner

from clawportal import pluginmanager
from clawportal.cli.server import cli
from clawportal.contracts.adapters import ChatEvent
from clawportal.contracts.runtimes import Place
from clawportal.contracts.specs import InstanceSpec
from clawportal.errors import GiveUp
from clawportal.pluginnames import BUNDLED
from clawportal.testing.adapters import AdapterConformance
from clawportal.testing.fakes import MODEL_KEY, make_context
from clawportal.testing.trial import Trial
from clawportal_custom import doctor_checks
from clawportal_custom.adapter import CustomAdapter
from clawportal_custom.reading import Unusable, parsed, read, read_all
from clawportal_process.driver import ProcessDriver
from tests.conftest import wait_for

PARROT = Path(__file__).with_name("parrot.yaml")
Changed = Callable[[dict[str, Any]], None]


def document() -> dict[str, Any]:
    return dict(yaml.safe_load(PARROT.read_text()))


def parrot() -> CustomAdapter:
    return CustomAdapter(read(PARROT))


class TestParrot(AdapterConformance):
    adapter: ClassVar[Any] = parrot()
    tried: ClassVar[Any] = (
        {"greeting": 'a "quote" and a \\ in\nlines', "volume": 0, "mood": "wild", "loud": True, "friends": ["a", 'b"']},
        {"greeting": "${state} ${nothing}", "shell": "date"},
    )
    refused: ClassVar[Any] = (({"settings": {"greeting": "a\0b"}}, frozenset(), "settings.greeting"),)


# ---- the plan


def test_values_stand_in_files_commands_and_environment() -> None:
    spec = {"persona": "Who\nyou are", "settings": {"greeting": 'say "${state}" \\', "friends": ["a", 'b"'], "loud": True}}
    context = make_context(parrot(), spec=spec, secrets=[MODEL_KEY])
    plan = parrot().plan(context)
    files = {file.path: file.content for file in plan.files}
    config = json.loads(files["parrot.json"])
    assert config == {
        "host": "127.0.0.1", "port": context.ports["http"], "greeting": 'say "${state}" \\', "volume": 3, "loud": True,
        "friends": ["a", 'b"'], "mood": "calm", "literal": "${HOME}",
    }  # fmt: skip
    assert files["SOUL.md"] == "Who\nyou are" and files["parrot.py"].startswith("import http.server"), (
        "lines keep their beginnings"
    )
    (process,) = plan.processes
    assert process.argv[3:] == ("/srv/claw/state/parrot.py", "/srv/claw/state", "--name=trial", "Who\nyou are")
    assert process.env == {"PARROT_MODEL": "practice at http://127.0.0.1:18080/v1"}
    assert process.secret_env == {"PARROT_TOKEN": "access_token", "PARROT_MODEL_KEY": MODEL_KEY}, "those that there are"


def test_an_argument_without_a_value_is_left_out() -> None:
    (process,) = parrot().plan(make_context(parrot())).processes
    assert process.argv[-1] == "--name=trial"


def test_files_that_it_notices_need_no_restart() -> None:
    adapter = parrot()
    plans = [adapter.plan(make_context(adapter, spec={"settings": {"greeting": word}})) for word in ("one", "two")]
    assert adapter.change(*plans).action == "hot"
    assert adapter.change(plans[0], replace(plans[0], processes=())).action == "restart"


def test_what_is_needed_is_asked_for() -> None:
    changed = document()
    changed["settings"]["bot_key"]["required"] = changed["settings"]["greeting"]["required"] = True
    changed["settings"]["greeting"]["default"] = ""
    adapter = CustomAdapter(parsed(changed))
    flaws = adapter.validate(InstanceSpec.model_validate({}), frozenset())
    assert [flaw.path for flaw in flaws] == ["settings.greeting", "secrets.bot_key"]
    spec = InstanceSpec.model_validate({"settings": {"greeting": "Hi"}})
    assert adapter.validate(spec, frozenset({"bot_key"})) == []


def test_a_text_that_comes_to_far_too_much_is_given_up() -> None:
    changed = document()
    changed["files"][1]["content"] = "${persona} " * 1000
    adapter = CustomAdapter(parsed(changed))
    with pytest.raises(GiveUp, match="may have 100,000 characters at most"):
        adapter.plan(make_context(adapter, spec={"persona": "x" * 50_000}))


def test_codes_of_its_own_say_that_starting_again_is_no_use() -> None:
    verdict = parrot().explain_exit(78, None, ("greeting is too long",))
    assert not verdict.retry and verdict.message == "greeting is too long"
    assert parrot().explain_exit(1, None, ()).retry


# ---- a real one


@pytest.fixture
def claw(tmp_path: Path) -> Iterator[Trial]:
    runtime = ProcessDriver().connect(Place("local", "local", {}, str(tmp_path), {}))
    with Trial(runtime, parrot()) as trial:
        trial.check()
        trial.start()
        yield trial
    runtime.close()


def test_it_runs_and_answers(claw: Trial) -> None:
    events = list(claw.chat("s-1", "hello"))
    assert [event.text for event in events if event.kind == "delta"] == ["You s", "aid: hello (s-1, practice)"]
    assert events[-1] == ChatEvent("final", "You said: hello (s-1, practice)")
    used = [event.usage for event in events if event.usage]
    assert [(one.input_tokens, one.output_tokens) for one in used] == [(3, 4)]
    wait_for(lambda: "/v1/chat/completions" in [claw.adapter.parse_log(line).message for line in claw.lines()], what="its log")
    assert {claw.adapter.parse_log(line).level for line in claw.lines()} == {"info"}


def test_it_judges_its_configuration_itself(claw: Trial) -> None:
    with pytest.raises(Exception, match="too loud"):
        claw.check(claw.plan({"settings": {"volume": 11}}))


# ---- files


def test_a_folder_of_kinds_becomes_adapters_and_a_bad_file_costs_itself_only(tmp_path: Path) -> None:
    folder = tmp_path / "claws"
    folder.mkdir()
    (folder / "a.yaml").write_bytes(PARROT.read_bytes())
    (folder / "b.yaml").write_text("name: [")
    (folder / "c.yml").write_bytes(PARROT.read_bytes())
    (folder / "notes.txt").write_text("nothing")
    registry = pluginmanager.load(BUNDLED, str(tmp_path))
    assert registry.adapters["parrot"].title == "Parrot" and "echo" in registry.adapters
    told = {result.name: (result.ok, result.message) for result in doctor_checks(str(tmp_path))}
    assert not told["kind of claw in b.yaml"][0] and "is no YAML" in told["kind of claw in b.yaml"][1]
    assert "describes the kind parrot already" in told["kind of claw in c.yml"][1]
    assert told["kinds of claw of one's own"] == (True, "Described here: parrot.")


def test_a_kind_that_a_plugin_has_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "claws").mkdir()
    changed = document() | {"name": "echo"}
    (tmp_path / "claws" / "echo.yaml").write_text(yaml.safe_dump(changed))
    registry = pluginmanager.load(BUNDLED, str(tmp_path))
    assert registry.adapters["echo"].title == "Echo", "the portal starts, and its own kind stays"
    assert [fault.message for fault in registry.faults] == ["Another plugin has the adapter 'echo', too; that one is used."]


def test_no_folder_is_no_fault(tmp_path: Path) -> None:
    assert read_all(str(tmp_path)).kinds == [] and list(doctor_checks(str(tmp_path))) == []


def put(*path: Any, value: Any) -> Changed:
    def change(changed: dict[str, Any]) -> None:
        there: Any = changed
        for step in path[:-1]:
            there = there[step]
        there[path[-1]] = value

    return change


WRONG: list[tuple[Changed, str]] = [
    (put("apiVersion", value="v2"), "apiVersion: Input should be 'clawportal.io/v1'"),
    (put("colour", value="red"), "colour: Extra inputs are not permitted"),
    (put("name", value="Par rot"), "name: String should match pattern"),
    (put("default", value="9"), "default: '9' is none of the versions."),
    (put("memory", value="lots"), "memory: 'lots' is not a quantity"),
    (put("files", 0, "content", value="${setting.nothing}"),
     "files.parrot.json: names the variable 'setting.nothing', which there is not"),
    (put("files", 0, "content", value="${setting.bot_key}"), "names the secret 'setting.bot_key'. Secrets stand in no file"),
    (put("files", 0, "content", value="${open"), "has a placeholder without an end"),
    (put("files", 0, "path", value="../up"), "files.0.path: must lie inside its folder"),
    (put("files", 0, "mode", value="0666"), "files.0.mode: must not let others write"),
    (put("files", 1, "path", value="parrot.json"), "files: state/parrot.json stands there twice."),
    (put("processes", 0, "environment", "PARROT_TOKEN", value="x"), "name each once"),
    (put("processes", 0, "secret_environment", "MORE", value="no_such"), "there is no secret 'no_such'"),
    (put("processes", 0, "secret_environment", value={"PARROT_TOKEN": "access_token"}), "no process gets this secret"),
    (put("processes", value=[]), "processes: List should have at least 1 item"),
    (put("health", value={"type": "http"}), "port goes with the types http and tcp"),
    (put("health", "port", value="nowhere"), "health.port: 'nowhere' is none of the ports."),
    (put("health", value={"type": "command"}), "command goes with the type command"),
    (put("check", "command", value=["true"]), "has to name ${candidate}"),
    (put("chat", "token", value="no_such"), "chat.token: there is no secret 'no_such'"),
    (put("settings", "mood", "choices", value=[]), "settings.mood: choices go with the type choice"),
    (put("settings", "mood", "default", value="sad"), "settings.mood.default: Input should be 'calm' or 'wild'."),
    (put("settings", "volume", "default", value=12), "settings.volume.default: Input should be less than or equal to 11."),
    (put("settings", "bot_key", "default", value="x"), "settings.bot_key: a secret has neither"),
    (put("settings", "shell", "safe", value=["date"]), "the default has to be among the safe values"),
    (put("settings", "greeting", "pattern", value="("), "settings: "),
    (put("versions", 0, "install", value=[{"name": "a", "kind": "pip", "version": "1", "packages": ["a==1"], "needs": ["b"],
                                           "check": ["bin/a"]}]), "versions.2.1.install: a stands there twice, or before"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), WRONG, ids=[said[:40] for _, said in WRONG])
def test_what_is_wrong_is_said_with_its_place(change: Changed, said: str) -> None:
    changed = copy.deepcopy(document())
    change(changed)
    with pytest.raises(Unusable) as told:
        parsed(changed)
    assert said in str(told.value), str(told.value)


@pytest.mark.parametrize("content", [b"", b"5", b"[]", b"\xff\xfe", b"a: &a [*a]", b"!!python/object/apply:os.system ['true']"])
def test_a_file_that_is_something_else(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(content)
    with pytest.raises(Unusable):
        read(file)


def test_a_file_that_is_far_too_large(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"#" * 1_000_001)
    with pytest.raises(Unusable, match="more than 1,000,000 bytes"):
        read(file)


def test_files_can_be_looked_at_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: x")
    good = CliRunner().invoke(cli, ["claw-kind", "check", str(PARROT)])
    assert good.exit_code == 0 and "parrot, Parrot" in good.output
    bad = CliRunner().invoke(cli, ["claw-kind", "check", str(PARROT), str(tmp_path / "bad.yaml")])
    assert bad.exit_code == 1 and "bad.yaml: apiVersion: Field required." in bad.output
    schema = json.loads(CliRunner().invoke(cli, ["claw-kind", "schema"]).output)
    assert "settings" in schema["properties"] and schema["additionalProperties"] is False


@pytest.mark.parametrize("number", [".inf", ".nan", "1:" * 200 + "1.5", "9" * 4_000], ids=["inf", "nan", "base60", "long"])
def test_a_number_that_is_none_costs_its_own_kind(number: str, tmp_path: Path) -> None:
    folder = tmp_path / "claws"
    folder.mkdir()
    text = yaml.safe_dump(document() | {"name": "odd"})
    (folder / "a.yaml").write_text(text.replace("settings:\n", f"settings:\n  odd: {ODD % number}\n", 1))
    (folder / "b.yaml").write_text(PARROT.read_text())
    found = read_all(str(tmp_path))
    assert [kind.name for kind in found.kinds] == ["parrot"]
    assert [fault.file.name for fault in found.faults] == ["a.yaml"]


ODD = "{type: integer, title: Odd, description: A number, minimum: %s}"
