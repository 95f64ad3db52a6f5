"""Plugins: a third-party project installed as its own, and what stops a start."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from clawportal import hookimpl, hookspecs, pluginmanager
from clawportal.contracts.doctor import DoctorResult
from clawportal.contracts.features import Feature
from clawportal.contracts.permissions import ALL, Actor, Grant
from clawportal.contracts.runtimes import RuntimeDriver
from clawportal.contracts.stores import FileStore
from clawportal.errors import Forbidden
from clawportal.hookcalls import HookFailed
from clawportal.pluginmanager import PluginError
from clawportal.services.fleet import instances
from clawportal.services.fleet.instances import NewInstance
from tests.core.world import World

ROOT = Path(__file__).parents[2]
HOOKS = sorted(name for name, value in vars(hookspecs).items() if hasattr(value, "clawportal_spec"))


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example project, installed by pip without a network."""
    target = tmp_path_factory.mktemp("site")
    project = ROOT / "tests/plugin_parrot"
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--target", str(target)]
    command = [sys.executable, "-m", "pip", "install", *options, str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture
def site(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(installed))
    yield installed
    sys.modules.pop("clawportal_parrot", None)


def module(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> str:
    (folder / f"{name}.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()
    return name


def test_it_is_loaded_listed_and_unloaded(site: Path) -> None:
    registry = pluginmanager.load()
    assert [plugin.name for plugin in registry.plugins] == [*pluginmanager.BUNDLED, "parrot"]
    info = registry.plugins[-1]
    assert (info.version, info.bundled) == ("1.2.3", False) and "parrot" in info.summary
    assert {"register_adapters", "register_features", "doctor_checks", "on_event"} <= set(info.hooks)
    assert registry.adapters["parrot"].title == "Parrot" and list(registry.adapters)[-1] == "parrot"
    pluginmanager.unload(registry, "parrot")
    assert "parrot" not in registry.adapters and "echo" in registry.adapters
    assert [plugin.name for plugin in registry.plugins] == list(pluginmanager.BUNDLED)
    assert registry.feature("parrot") is None and registry.feature("instances")
    with pytest.raises(PluginError, match="parrot"):
        pluginmanager.unload(registry, "parrot")


def test_its_claw_runs_and_every_hook_is_called(site: Path, make_world: Callable[..., World]) -> None:
    world = make_world()
    parrot = importlib.import_module("clawportal_parrot")
    parrot.heard.clear()
    one = world.create("polly", adapter="parrot")
    world.until(one, "running")
    with world.context() as portal, pytest.raises(Forbidden, match="No cats"):
        instances.create(portal, SOMEBODY, NewInstance(name="cat", adapter="parrot", start=True, spec={}, secrets={}))
    world.press("stop", one)  # the plugin fails on this event, and nobody else notices
    world.until(one, "stopped")
    assert {"instance.created", "instance.phase_changed", "instance.stop_requested"} <= set(parrot.heard)
    registry = world.portal.registry
    parrot_feature = registry.feature("parrot")
    assert parrot_feature and [link.title for link in parrot_feature.nav] == ["Parrot handbook"]
    found = registry.items("doctor_checks", data_dir=str(world.folder))
    assert any(result.name == "parrot" and result.ok for result in found)
    with world.context():
        assert world.see(one).phase == "stopped"

    pluginmanager.unload(registry, "parrot")
    world.press("start", one)
    seen = world.until(one, "failed")
    assert seen.reason == "AdapterMissing" and "parrot" in seen.message


def test_the_command_line_lists_it(installed: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ, "PYTHONPATH": f"{installed}:{ROOT}:{ROOT / 'plugins'}", "CLAWPORTAL_DATA_DIR": str(tmp_path / "data"),
    }  # fmt: skip

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "clawportal.cli.server", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment | more, capture_output=True, text=True, check=False)

    listed = run("plugins")
    assert listed.returncode == 0, listed.stderr
    line = next(line for line in listed.stdout.splitlines() if line.startswith("parrot"))
    assert "1.2.3" in line and "installed" in line and "on_event" in line
    narrowed = run("plugins", CLAWPORTAL_PLUGINS="clawportal_echo")
    assert "parrot" not in narrowed.stdout and "clawportal_echo" in narrowed.stdout
    assert run("parrot").stdout == "Polly\n" and "parrot" in run("--help").stdout
    assert "No such command" in run("parrot", CLAWPORTAL_PLUGINS="clawportal_echo").stderr
    missing = run("plugins", CLAWPORTAL_PLUGINS="clawportal_echo,no_such_plugin")
    assert missing.returncode != 0 and "no_such_plugin" in missing.stderr and "CLAWPORTAL_PLUGINS" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_a_broken_plugin_takes_no_command_and_no_check_down(tmp_path: Path) -> None:
    (tmp_path / "crooked.py").write_text("def register_features(): ...\n1 / 0")
    (tmp_path / "halved.py").write_text(textwrap.dedent("""
        from clawportal.sdk import hookimpl
        from clawportal.sdk.features import Feature
        @hookimpl
        def register_features():
            return [Feature("halved", "Halved", commands=("halved:absent",), on_start=("halved:absent",))]
    """))  # fmt: skip
    environment = {
        **os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}:{ROOT / 'plugins'}", "CLAWPORTAL_DATA_DIR": str(tmp_path / "data"),
        "CLAWPORTAL_PLUGINS": "clawportal_echo,crooked,halved",
    }  # fmt: skip

    def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", f"clawportal.cli.{program}", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    for program, own in (("server", "doctor"), ("claw", "whoami")):
        help_ = run(program, "--help")
        assert help_.returncode == 0 and own in help_.stdout and "'crooked'" in help_.stderr, help_.stderr
    found = run("server", "doctor")
    assert found.returncode == 1 and "Traceback" not in found.stderr
    failed = [line.removeprefix("FAIL").strip() for line in found.stdout.splitlines() if line.startswith("FAIL")]
    assert any(line.startswith("plugin crooked: Plugin 'crooked' cannot be loaded: ZeroDivisionError") for line in failed)
    assert any(
        line.startswith("plugin halved: on_start of the feature 'halved': halved:absent cannot be found") for line in failed
    )
    assert any(line.startswith("ok") and "free disk" in line for line in found.stdout.splitlines())


SOMEBODY = Actor("u-0", "somebody", "user", (Grant(ALL),))


def only_fault(registry: pluginmanager.Registry) -> str:
    assert len(registry.faults) == 1, registry.faults
    return f"{registry.faults[0].plugin}: {registry.faults[0].message}"


BROKEN = {
    "misspelt": ("""
        @hookimpl
        def register_adaptors(): return []
    """, r"misspelt: .*register_adaptors.*README"),
    "arguments": ("""
        @hookimpl
        def doctor_checks(person): return []
    """, r"arguments: .*doctor_checks.*README"),
    "unimportable": ("1 / 0", r"unimportable: .*division.*CLAWPORTAL_PLUGINS"),
    "failing": ("""
        @hookimpl
        def register_adapters(): raise RuntimeError("no licence")
    """, r"failing: .*no licence"),
    "no_list": ("""
        @hookimpl
        def register_runtimes(): return 5
    """, r"no_list: .*not iterable"),
    "second_echo": ("""
        from clawportal_echo import EchoAdapter
        @hookimpl
        def register_adapters(): return [EchoAdapter()]
    """, r"second_echo: The plugins clawportal_echo and second_echo both bring the adapter 'echo'"),
    "no_feature": ("""
        @hookimpl
        def register_features(): return ["skills"]
    """, r"no_feature: .*'skills', which is no Feature"),
    "same_feature": ("""
        from clawportal.contracts.features import Feature
        @hookimpl
        def register_features(): return [Feature("audit", "Another audit")]
    """, r"same_feature: The plugins clawportal and same_feature both bring the feature 'audit'"),
    "no_target": ("""
        from clawportal.contracts.features import Feature
        @hookimpl
        def register_features(): return [Feature("skills", "Skills", on_start=("skills.start",))]
    """, r"no_target: .*'skills': on_start is 'skills.start'; write it as package.module:function"),
    "no_tuple": ("""
        from clawportal.contracts.features import Feature
        @hookimpl
        def register_features(): return [Feature("skills", "Skills", api="skills.api")]
    """, r"no_tuple: .*'skills': api must be a tuple, not str"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_third_party_plugin_is_named_and_left_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    code, said = BROKEN[name]
    module(tmp_path, monkeypatch, name, f"from clawportal import hookimpl\n{textwrap.dedent(code)}")
    registry = pluginmanager.load(["clawportal_echo", name, "clawportal_nanobot"])
    assert re.match(said, only_fault(registry)) and name in caplog.text
    assert [plugin.name for plugin in registry.plugins] == ["clawportal_echo", "clawportal_nanobot"]
    assert list(registry.adapters) == ["echo", "nanobot"] and registry.feature("instances")
    assert [(found.ok, found.name) for found in registry.findings()] == [(False, f"plugin {name}")]


@pytest.mark.parametrize("name", ["misspelt", "unimportable", "failing", "no_target"])
def test_a_broken_bundled_plugin_stops_the_start(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = BROKEN[name]
    module(tmp_path, monkeypatch, name, f"from clawportal import hookimpl\n{textwrap.dedent(code)}")
    monkeypatch.setattr(pluginmanager, "BUNDLED", (*pluginmanager.BUNDLED, name))
    with pytest.raises(PluginError) as refused:
        pluginmanager.load([name])
    assert re.match(said.removesuffix(".*CLAWPORTAL_PLUGINS"), f"{name}: {refused.value}")


def test_a_name_that_nobody_knows_stops_the_start() -> None:
    with pytest.raises(PluginError, match=r"'no_such_plugin'.*CLAWPORTAL_PLUGINS"):
        pluginmanager.load(["no_such_plugin"])


class Answers:
    """A plugin whose answers are seen in the order of calls."""

    def __init__(self, title: str) -> None:
        self.title = title

    @hookimpl
    def doctor_checks(self, data_dir: str) -> Iterator[DoctorResult]:
        yield DoctorResult(self.title, True, "")


class Fails:
    @hookimpl
    def doctor_checks(self) -> Iterator[DoctorResult]:
        yield DoctorResult("half", True, "")
        raise RuntimeError("half-way")


class First:
    @hookimpl(tryfirst=True)
    def doctor_checks(self) -> list[DoctorResult]:
        return [DoctorResult("first", True, "")]


class Around:
    @hookimpl(wrapper=True)
    def doctor_checks(self, data_dir: str) -> Generator[None, list[list[DoctorResult]], list[list[DoctorResult]]]:
        answers = yield
        return [*answers, [DoctorResult(f"around {len(answers)}", True, "")]]


def registry_of(**plugins: object) -> pluginmanager.Registry:
    registry = pluginmanager.Registry()
    for name, plugin in plugins.items():
        registry.add(name, plugin)
    registry.settle()
    return registry


def test_hooks_are_called_in_the_order_of_loading_inside_wrappers() -> None:
    registry = registry_of(one=Answers("one"), two=Answers("two"), three=First(), four=Around())
    assert [found.name for found in registry.items("doctor_checks", data_dir="/")] == ["first", "one", "two", "around 3"]


def test_one_that_fails_is_named_and_the_others_answer(caplog: pytest.LogCaptureFixture) -> None:
    registry = registry_of(one=Answers("one"), bad=Fails(), two=Answers("two"))
    for _ in range(3):
        assert [found.name for found in registry.items("doctor_checks", data_dir="/")] == ["one", "two"]
    assert re.match(r"bad: It failed in doctor_checks: RuntimeError\('half-way'\)", only_fault(registry))


class FailsAround:
    @hookimpl(wrapper=True)
    def doctor_checks(self) -> Generator[None, list[list[DoctorResult]], list[list[DoctorResult]]]:
        yield
        raise RuntimeError("around all")


def test_a_wrapper_that_fails_is_named() -> None:
    registry = registry_of(one=Answers("one"), around=FailsAround())
    with pytest.raises(HookFailed, match=r"Plugin 'around' failed in doctor_checks: .*around all"):
        registry.items("doctor_checks", data_dir="/")


def test_features_come_after_what_they_require() -> None:
    class Notes:
        @hookimpl
        def register_features(self) -> list[Feature]:
            return [Feature("notes", "", requires=("skills", "instances")), Feature("skills", "", requires=("drive",)),
                    Feature("drive", ""), Feature("left", "", requires=("right",)), Feature("right", "", requires=("left",)),
                    Feature("alerts", "", requires=("gateway",)), Feature("pager", "", requires=("alerts",))]  # fmt: skip

    registry = registry_of(notes=Notes())
    names = [feature.name for feature in registry.features]
    assert names.index("instances") < names.index("notes") and names[-3:] == ["drive", "skills", "notes"]
    assert all(names.index(needed) < names.index(one.name) for one in registry.features for needed in one.requires)
    said = [fault.message for fault in registry.faults]
    assert [text.partition("'")[2].partition("'")[0] for text in said] == ["alerts", "pager", "left", "right"]
    assert "it requires gateway, which is not loaded" in said[0] and "requires alerts" in said[1] and "circle" in said[2]


def test_a_plugin_named_twice_is_loaded_once() -> None:
    assert len(pluginmanager.load(["clawportal_echo", "clawportal_echo"]).plugins) == 1


def test_what_the_bundled_ones_bring() -> None:
    registry = pluginmanager.load(pluginmanager.BUNDLED)
    assert set(registry.adapters) == {"echo", "nanobot", "openclaw"}
    assert set(registry.runtimes) == {"docker", "kubernetes", "process"}
    assert all(isinstance(driver, RuntimeDriver) for driver in registry.runtimes.values())
    assert set(registry.notifiers) == {"email", "log", "webhook"}
    assert registry.stores and all(isinstance(store, FileStore) for store in registry.stores.values())


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_and_proved(hook: str, site: Path) -> None:
    text = (ROOT / "plugins/README.md").read_text()
    assert f"`{hook}(" in text or f"{hook}(" in text, "plugins/README.md documents all of them"
    registry = pluginmanager.load()
    users = {implementation.plugin_name for implementation in getattr(registry.manager.hook, hook).get_hookimpls()}
    assert users, "a hook that nobody uses"
    assert users & {*pluginmanager.BUNDLED, pluginmanager.CORE}, "a hook that only others use"


@pytest.mark.parametrize("order", [("clawportal_echo", "modest"), ("modest", "clawportal_echo")])
def test_what_yields_makes_way_for_another_plugin(
    order: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "modest.py").write_text(
        "from clawportal.sdk import hookimpl\nfrom clawportal_echo import EchoAdapter\n"
        "class Modest(EchoAdapter):\n    title, yields = 'Modest', True\n"
        "@hookimpl\ndef register_adapters(): return [Modest()]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = pluginmanager.load(order)
    assert registry.adapters["echo"].title == "Echo"
    assert [(fault.plugin, "that one is used" in fault.message) for fault in registry.faults] == [("modest", True)]
