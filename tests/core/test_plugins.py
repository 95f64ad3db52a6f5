"""Plugins: a third-party project installed as its own, and what stops a start."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clawportal import hookspecs, pluginmanager
from clawportal.contracts.runtimes import RuntimeDriver
from clawportal.contracts.stores import FileStore
from clawportal.errors import Forbidden
from clawportal.pluginmanager import PluginError
from tests.core.world import World

ROOT = Path(__file__).parents[2]
HOOKS = sorted(name for name, value in vars(hookspecs).items() if hasattr(value, "clawportal_spec"))
UNUSED_BY_BUNDLED = {"register_blueprints", "register_commands", "actor_grants", "admit", "menu_links", "on_event"}
"""Proved by the example in tests/plugin_example alone. Whoever makes a bundled plugin use one takes it out here."""


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example project, installed by pip without a network."""
    target = tmp_path_factory.mktemp("site")
    project = ROOT / "tests/plugin_example"
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
    assert {"register_adapters", "menu_links", "doctor_checks", "on_event"} <= set(info.hooks)
    assert registry.adapters["parrot"].title == "Parrot" and list(registry.adapters)[-1] == "parrot"
    pluginmanager.unload(registry, "parrot")
    assert "parrot" not in registry.adapters and "echo" in registry.adapters
    assert [plugin.name for plugin in registry.plugins] == list(pluginmanager.BUNDLED)
    assert registry.hook.menu_links(actor=None) == []
    with pytest.raises(PluginError, match="parrot"):
        pluginmanager.unload(registry, "parrot")


def test_its_claw_runs_and_every_hook_is_called(site: Path, make_world: Callable[..., World]) -> None:
    world = make_world()
    parrot = importlib.import_module("clawportal_parrot")
    parrot.heard.clear()
    one = world.create("polly", adapter="parrot")
    world.until(one, "running")
    with pytest.raises(Forbidden, match="No cats"):
        world.create("cat", adapter="parrot")
    world.press("stop", one)  # the plugin fails on this event, and nobody else notices
    world.until(one, "stopped")
    assert {"instance.created", "instance.phase_changed", "instance.stop_requested"} <= set(parrot.heard)
    registry = world.portal.registry
    assert [link.title for links in registry.hook.menu_links(actor=None) for link in links] == ["Parrot handbook"]
    found = [result for results in registry.hook.doctor_checks(data_dir=str(world.folder)) for result in results]
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
    missing = run("plugins", CLAWPORTAL_PLUGINS="clawportal_echo,no_such_plugin")
    assert missing.returncode != 0 and "no_such_plugin" in missing.stderr and "CLAWPORTAL_PLUGINS" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_a_misspelt_hook_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = module(tmp_path, monkeypatch, "misspelt", """
        from clawportal import hookimpl
        @hookimpl
        def register_adaptors(): return []
    """)  # fmt: skip
    with pytest.raises(PluginError, match="register_adaptors"):
        pluginmanager.load([name])


def test_a_wrong_argument_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = module(tmp_path, monkeypatch, "arguments", """
        from clawportal import hookimpl
        @hookimpl
        def menu_links(person): return []
    """)  # fmt: skip
    with pytest.raises(PluginError, match="menu_links"):
        pluginmanager.load([name])


def test_a_plugin_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PluginError, match=r"'no_such_plugin'.*CLAWPORTAL_PLUGINS"):
        pluginmanager.load(["no_such_plugin"])
    name = module(tmp_path, monkeypatch, "broken", "1 / 0")
    with pytest.raises(PluginError, match=r"'broken'.*division"):
        pluginmanager.load([name])


def test_a_plugin_that_fails_to_register_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = module(tmp_path, monkeypatch, "failing", """
        from clawportal import hookimpl
        @hookimpl
        def register_adapters(): raise RuntimeError("no licence")
    """)  # fmt: skip
    with pytest.raises(PluginError, match=r"'failing'.*no licence"):
        pluginmanager.load([name])


def test_two_plugins_with_the_same_kind_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = module(tmp_path, monkeypatch, "second_echo", """
        from clawportal import hookimpl
        from clawportal_echo import EchoAdapter
        @hookimpl
        def register_adapters(): return [EchoAdapter()]
    """)  # fmt: skip
    with pytest.raises(PluginError, match="clawportal_echo and second_echo both bring the adapter 'echo'"):
        pluginmanager.load(["clawportal_echo", name])
    assert list(pluginmanager.load([name]).adapters) == ["echo"]


def test_a_plugin_named_twice_is_loaded_once() -> None:
    assert len(pluginmanager.load(["clawportal_echo", "clawportal_echo"]).plugins) == 1


def test_what_the_bundled_ones_bring() -> None:
    registry = pluginmanager.load(pluginmanager.BUNDLED)
    assert set(registry.adapters) == {"echo", "nanobot", "openclaw"}
    assert set(registry.runtimes) == {"docker", "kubernetes", "process"}
    assert all(isinstance(driver, RuntimeDriver) for driver in registry.runtimes.values())
    assert registry.stores and all(isinstance(store, FileStore) for store in registry.stores.values())


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_and_proved(hook: str, site: Path) -> None:
    text = (ROOT / "plugins/README.md").read_text()
    assert f"`{hook}(" in text or f"{hook}(" in text, "plugins/README.md documents all of them"
    registry = pluginmanager.load()
    users = {implementation.plugin_name for implementation in getattr(registry.hook, hook).get_hookimpls()}
    assert users, "a hook that nobody uses"
    assert (users & set(pluginmanager.BUNDLED) == set()) == (hook in UNUSED_BY_BUNDLED)
