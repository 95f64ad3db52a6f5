"""Whatever an operator gives before the start: it works, or it is one sentence with exit code 2; never a traceback."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from clawportal import paths, redact
from clawportal.cli import opening, startup_errors
from clawportal.engine.current_settings import masked
from clawportal.settings import Settings
from tests import commands
from tests.browser.portal import ROOT, PortalProcess, free_port

ODD = 'odd $HOME `id` "quoted" it\'s 100% #1?x=1 é 名'


def clawportal(*words: str, folder: Path | str, stdin: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """As an operator runs it; settings without CLAWPORTAL_."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLAWPORTAL_", "CLAW_"))}
    given = {f"CLAWPORTAL_{name}": value for name, value in settings.items()}
    environment = kept | {"PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}", "CLAWPORTAL_DATA_DIR": str(folder)} | given
    return commands.run(*words, environment=environment, stdin=stdin)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The sentence."""
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr + done.stdout
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert line.startswith("Error: ") and line.endswith((".", "'"))
    return line


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PORT", "http", "CLAWPORTAL_PORT cannot be 'http'"),
        ("PORT", "0", "CLAWPORTAL_PORT"),
        ("PORT", "65536", "CLAWPORTAL_PORT"),
        ("JOBS", "perhaps", "CLAWPORTAL_JOBS"),
        ("LOG_LEVEL", "loud", "CLAWPORTAL_LOG_LEVEL"),
        ("LOG_FORMAT", "xml", "text or json"),
        ("PORT_RANGE", "9-1", "two ports"),
        ("RATE_LIMIT", "often", "per minute"),
        ("RATE_LIMIT_STORAGE", "ftp://x", "redis://"),
        ("PUBLIC_URL", "claws.example.com", "https://"),
        ("PUBLIC_URL", "https://h:port", "https://"),
        ("PUBLIC_URL", "https://u:p@h", "https://"),
        ("HOST", "no.such.host.invalid", "CLAWPORTAL_HOST"),
        ("HOST", "203.0.113.1", "cannot be listened on"),
        ("DATABASE_URL", "mysql://u:secret@h/x", "PostgreSQL"),
        ("DATABASE_URL", "postgres", "PostgreSQL"),
        ("DATABASE_URL", "postgresql://u:secret@h:port/x", "PostgreSQL"),
        ("DATABASE_URL", "postgres://u:secret@127.0.0.1:1/x", "The database cannot be used"),
        ("DATA_DIR", "/dev/null/x", "/dev/null/x"),
        ("DATA_DIR", "/tmp/a:b", "colon"),
        ("DATA_DIR", "~nobody-of-this-name/x", "CLAWPORTAL_DATA_DIR"),
        ("DATA_DIR", "/proc/none", "/proc/none"),
        ("PLUGINS", "no_such_plugin", "no_such_plugin"),
    ],
)
def test_a_setting_that_cannot_be(tmp_path: Path, name: str, value: str, said: str) -> None:
    line = refused(clawportal("serve", folder=tmp_path / "data", **{"PORT": str(free_port()), name: value}))
    assert said in line and "secret" not in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"port = ", "clawportal.toml"), (b"\xff\xfe\x00garbage", "UTF-8"), (b"porto = 1\n", "porto is no setting"),
        (b"port = 'x'\n", "CLAWPORTAL_PORT"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["serve", "settings"])
def test_a_file_of_settings_that_cannot_be(tmp_path: Path, content: bytes, said: str, command: str) -> None:
    (tmp_path / "clawportal.toml").write_bytes(content)
    assert said in refused(clawportal(command, folder=tmp_path))


def test_a_section_that_nobody_reads_is_told_and_stops_nothing(tmp_path: Path) -> None:
    """It may belong to a plugin that is left out for now."""
    (tmp_path / "clawportal.toml").write_bytes(b"[server]\nport = 1\n")
    done = clawportal("settings", folder=tmp_path)
    assert done.returncode == 0 and "Nothing reads the section [server]" in done.stderr
    assert "nothing reads the section [server]" in clawportal("doctor", folder=tmp_path).stdout


def test_settings_are_shown_without_secrets(tmp_path: Path) -> None:
    address = "postgresql+psycopg://portal:hunter2-secret@127.0.0.1:1/claws"
    shown = clawportal("settings", folder=tmp_path, DATABASE_URL=address).stdout
    assert "hunter2-secret" not in shown and "127.0.0.1:1/claws" in shown


@pytest.mark.parametrize("name", ["password", "sslpassword"])
def test_settings_are_shown_without_secrets_in_parameters_of_addresses(tmp_path: Path, name: str) -> None:
    address = f"postgresql+psycopg://127.0.0.1:1/claws?{name}=hunter2-secret&user=portal"
    shown = clawportal("settings", folder=tmp_path, DATABASE_URL=address).stdout
    assert "hunter2-secret" not in shown and "127.0.0.1:1/claws" in shown and "user=portal" in shown


def test_addresses_of_notices_are_not_shown(tmp_path: Path) -> None:
    routes = '[{"via": "webhook", "to": "https://hooks.example.com/sesame", "kinds": ["instance.*"]}, {"via": "log"}]'
    shown = clawportal("settings", folder=tmp_path, NOTICES_ROUTES=routes).stdout
    line = next(line for line in shown.splitlines() if line.startswith("CLAWPORTAL_NOTICES_ROUTES="))
    assert "hooks.example.com" not in shown
    assert redact.MASK in line and "instance.*" in line and line.count("'via': ") == 2 and "'to': ''" in line


def test_secrets_inside_of_tables_and_lists_are_hidden() -> None:
    told = masked("doors", [{"name": "front", "api_key": "sesame"}, "https://kim:pw@example.com"])
    assert told == [{"name": "front", "api_key": redact.MASK}, f"https://{redact.MASK}@example.com"]


def test_a_value_that_is_secret_by_its_name_is_hidden() -> None:
    assert masked("smtp_password", "hunter2") == redact.MASK == masked("notes", "hunter2", secret=True)
    assert masked("smtp_password", "") == "" and masked("port", 8800) == 8800


def test_settings_say_where_each_comes_from(tmp_path: Path) -> None:
    (tmp_path / "clawportal.toml").write_text("event_days = 5\n")
    done = clawportal("settings", "-o", "json", folder=tmp_path, SESSION_HOURS="3")
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert [found[name]["source"] for name in ("event_days", "session_hours", "upload_mib")] == ["file", "environment", "default"]
    assert found["session_hours"]["value"] == 3.0 and found["session_hours"]["changeable"] and not found["port"]["changeable"]
    assert "event_days" not in clawportal("doctor", folder=tmp_path).stdout and not (tmp_path / "clawportal.db").exists()


def test_a_step_back_is_no_option(tmp_path: Path) -> None:
    clawportal("db", "upgrade", folder=tmp_path)
    assert "whose tables go back" in clawportal("db", "downgrade", "-1", folder=tmp_path).stderr
    assert clawportal("db", "downgrade", "-1", "--feature", "policies", folder=tmp_path).returncode == 0


def test_a_file_of_settings_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "clawportal.toml").mkdir()
    done = clawportal("settings", folder=tmp_path)
    assert "Traceback" not in done.stderr


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "clawportal.toml").write_text("\ufeffport = 18800\r\n", encoding="utf-8")
    done = clawportal("settings", folder=tmp_path)
    assert done.returncode == 0 and "CLAWPORTAL_PORT=18800" in done.stdout


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "clawportal.db").write_bytes(b"this is no database at all, but a text" * 100)
    assert "The database cannot be used" in refused(clawportal("serve", folder=tmp_path, PORT=str(free_port())))


def test_a_package_that_is_missing(tmp_path: Path) -> None:
    """As where psycopg was not installed."""
    (tmp_path / "psycopg.py").write_text("raise ModuleNotFoundError('No module named psycopg', name='psycopg')")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLAWPORTAL_")}
    environment = kept | {"PYTHONPATH": f"{tmp_path}:{ROOT}:{ROOT / 'plugins'}", "CLAWPORTAL_DATABASE_URL": "postgres://u@h/x"}
    environment["CLAWPORTAL_PORT"] = str(free_port())
    command = [sys.executable, "-m", "clawportal.cli.server", "--data-dir", str(tmp_path / "data"), "serve"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert "clawportal[postgres]" in refused(done)


def test_a_port_that_somebody_has(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        line = refused(clawportal("serve", folder=tmp_path / "data", PORT=str(other.getsockname()[1])))
    assert "cannot be listened on" in line and "--port" in line


@pytest.mark.parametrize(
    "words",
    [
        ["user", "create", "anna", "--password-stdin"], ["user", "set-password", "admin", "--password-stdin"], ["keys", "rotate"],
        ["db", "current"], ["db", "downgrade"], ["audit", "verify"], ["user", "unlock", "admin"],
    ],
)  # fmt: skip
def test_a_command_in_the_wrong_folder_makes_nothing(tmp_path: Path, words: list[str]) -> None:
    folder = tmp_path / "nothing"
    line = refused(clawportal(*words, folder=folder, stdin="correct horse battery"))
    assert "There is no portal in" in line and "--data-dir" in line and not folder.exists()


@pytest.mark.parametrize("words", [["plugins"], ["doctor"], ["settings"], ["--help"]])
def test_looking_makes_nothing(tmp_path: Path, words: list[str]) -> None:
    folder = tmp_path / "nothing"
    done = clawportal(*words, folder=folder)
    assert "Traceback" not in done.stderr + done.stdout and not folder.exists()
    assert done.returncode == 0 or words == ["doctor"]


def test_a_user_before_the_tables(tmp_path: Path) -> None:
    (tmp_path / "clawportal.db").touch()
    line = refused(clawportal("user", "create", "anna", "--password-stdin", folder=tmp_path, stdin="correct horse battery"))
    assert "clawportal db upgrade" in line


@pytest.mark.parametrize("host", ["::1", "::"])
def test_ipv6(tmp_path: Path, host: str) -> None:
    portal = PortalProcess(tmp_path / "data", HOST=host)
    portal.url = f"http://[::1]:{portal.port}"
    try:
        portal.start()
        assert f"listens on http://[{host}]:{portal.port} " in portal.output
    finally:
        portal.end()


@pytest.mark.slow
def test_a_data_folder_with_odd_letters(tmp_path: Path) -> None:
    """And the line that the sign-in page gives to whoever lost the first password works as it stands there."""
    portal = PortalProcess(tmp_path / ODD / "data")
    try:
        portal.start()
        line = paths.command(portal.folder, "user", "set-password", "admin", "--password-stdin")
        done = subprocess.run(
            line, shell=True, input="correct horse battery", text=True, capture_output=True, env=portal._environment()
        )
        assert done.returncode == 0, done.stderr
        assert shlex.split(line)[2] == str(portal.folder)
        portal.sign_in()
        assert portal.running("one")
    finally:
        portal.end()


@pytest.mark.parametrize("content", [None, "", 'plugins = "clawportal_echo, mine"\nplugin_path = "~/more:/opt/x"\nport = 1\n'])
@pytest.mark.parametrize("said", [{}, {"CLAWPORTAL_PLUGINS": "clawportal_process"}, {"CLAWPORTAL_PLUGIN_PATH": ""}])
def test_help_finds_the_plugins_that_the_settings_name(
    content: str | None, said: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PLUGINS", "PLUGIN_PATH"):
        monkeypatch.delenv(f"CLAWPORTAL_{name}", raising=False)
    for name, value in {"CLAWPORTAL_DATA_DIR": str(tmp_path), **said}.items():
        monkeypatch.setenv(name, value)
    if content is not None:
        (tmp_path / "clawportal.toml").write_text(content, encoding="utf-8-sig")
    settings = Settings()
    assert opening.plugins() == (settings.plugin_names, settings.plugin_folders)


@pytest.mark.parametrize("content", [b"port = ", b"plugins = 5\n", b"\xff\xfe"])
def test_help_says_what_is_wrong_with_the_file_of_settings(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAWPORTAL_DATA_DIR", str(tmp_path))
    (tmp_path / "clawportal.toml").write_bytes(content)
    with pytest.raises(startup_errors.Unusable) as told:
        opening.plugins()
    assert "clawportal.toml" in told.value.message or "CLAWPORTAL_PLUGINS" in told.value.message
