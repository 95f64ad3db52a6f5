"""What a claw of the process runtime sees, what it may not see, and which files it gets."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clawportal.contracts.runtimes import Ref, RunState
from clawportal.contracts.workloads import Artifact, Check, File, Process, Workload
from clawportal.errors import GiveUp, Retry
from tests.runtimes.process_helpers import eventually, exited, python, ready, runtime_in, texts, workload

ONE = Ref("one")
SECRET = "s3cr3t-value-of-the-test"


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Any]:
    with runtime_in(tmp_path / "place") as found:
        yield found


def folder(runtime: Any) -> Path:
    return Path(runtime.layout(ONE, ()).home).parent


def everything_below(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file() and not file.is_symlink())


REPORT = """
import json, os, resource, signal, sys
mask = os.umask(0); os.umask(mask)
with open('/proc/self/status') as file: status = dict(line.rstrip().partition(':\\t')[::2] for line in file)
print(json.dumps({
    'env': dict(os.environ), 'cwd': os.getcwd(), 'umask': mask, 'core': resource.getrlimit(resource.RLIMIT_CORE),
    'files': resource.getrlimit(resource.RLIMIT_NOFILE),
    'handles': sorted(os.listdir('/proc/self/fd')), 'sid': os.getsid(0) == os.getpid(),
    'blocked': int(status['SigBlk'], 16), 'stdin': os.readlink('/proc/self/fd/0'),
}))
"""


def report(runtime: Any, **fields: Any) -> dict[str, Any]:
    plan = Workload(processes=(replace(python(REPORT), argv=(*python(REPORT).argv[:1], "-c", REPORT), **fields),))
    runtime.apply(ONE, plan, {"key": SECRET})
    exited(runtime, ONE)
    return json.loads(texts(runtime, ONE, "stdout")[-1])


def test_the_environment_is_scrubbed(runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAWPORTAL_MASTER_KEY", "the portal's own")
    monkeypatch.setenv("HTTP_PROXY", "http://user:pass@proxy")
    found = report(runtime, env={"MODE": "test"}, secret_env={"API_KEY": "key"})
    assert set(found["env"]) == {
        "PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "TZ", "TERM", "CLAWPORTAL_INSTANCE", "CLAWPORTAL_PLACE",
        "MODE", "API_KEY",
    }  # fmt: skip
    assert found["env"]["API_KEY"] == SECRET and found["env"]["TZ"] == "UTC" and found["env"]["LANG"] == "C.UTF-8"
    layout = runtime.layout(ONE, ())
    assert (found["env"]["HOME"], found["env"]["TMPDIR"], found["cwd"]) == (layout.home, layout.tmp, layout.work)


def test_limits_signals_and_descriptors(runtime: Any) -> None:
    found = report(runtime)
    assert found["umask"] == 0o077 and found["core"] == [0, 0] and found["sid"]
    assert found["files"][0] == found["files"][1] <= 65536
    assert (found["blocked"], found["stdin"]) == (0, "/dev/null")
    assert len(found["handles"]) == 4, "0, 1, 2 and the one that lists them"


def test_no_signal_is_ignored(runtime: Any) -> None:
    """Python ignores SIGPIPE, and what is ignored would stay so in every child."""
    runtime.apply(ONE, Workload(processes=(Process("main", ("grep", "SigIgn", "/proc/self/status")),)), {})
    exited(runtime, ONE)
    ignored = int(texts(runtime, ONE)[0].split()[1], 16)
    # signals 32 and 33 belong to the C library: its posix_spawn, which make uses, ignores them in all children for good
    assert ignored & ~(0b11 << 31) == 0


def test_secrets_are_neither_on_disk_nor_in_any_command_line(runtime: Any) -> None:
    plan = Workload(
        processes=(python("import time; print('ready', flush=True); time.sleep(600)", secret_env={"API_KEY": "key"}),)
    )
    seen = runtime.apply(ONE, plan, {"key": SECRET, "other": "unused-secret"})
    ready(runtime, ONE)
    supervisor = json.loads((folder(runtime) / "run" / "state.json").read_text())["pid"]
    for pid in (seen.pid, supervisor):
        assert SECRET.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert SECRET.encode() in Path(f"/proc/{seen.pid}/environ").read_bytes()
    assert b"unused-secret" not in Path(f"/proc/{seen.pid}/environ").read_bytes()
    assert Path(f"/proc/{supervisor}/environ").read_bytes() == b""
    assert SECRET.encode() not in everything_below(runtime.base)


def test_folders_are_private(runtime: Any) -> None:
    runtime.apply(ONE, workload("open('made', 'w').write('x'); open('made2', 'w')"), {})
    exited(runtime, ONE)
    for path in [runtime.base, *folder(runtime).rglob("*"), folder(runtime)]:
        passing = 0o010 if path == folder(runtime) else 0  # the claw's own group may pass to what is its own
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 & ~passing == 0, path
    assert (folder(runtime) / "work" / "made").exists()


def test_policies_of_files(runtime: Any) -> None:
    owned, seeded = File("deep/config.json", "one", mode=0o400), File("SOUL.md", "one", root="work", policy="seed_once")
    runtime.write_files(ONE, workload(files=(owned, seeded)))
    config, soul = folder(runtime) / "state/deep/config.json", folder(runtime) / "work/SOUL.md"
    assert (config.read_text(), soul.read_text(), stat.S_IMODE(config.stat().st_mode)) == ("one", "one", 0o400)
    before = config.stat()
    runtime.write_files(ONE, workload(files=(owned, seeded)))
    assert config.stat().st_ino == before.st_ino, "an unchanged file is left alone"
    runtime.apply(ONE, workload(files=(replace(owned, content="two", mode=0o600), replace(seeded, content="two"))), {})
    assert (config.read_text(), soul.read_text(), stat.S_IMODE(config.stat().st_mode)) == ("two", "one", 0o600)
    assert not list(folder(runtime).rglob("*.new"))


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "", "a\0b"])
def test_paths_that_lead_out_are_refused(runtime: Any, path: str) -> None:
    with pytest.raises(GiveUp) as caught:
        runtime.apply(ONE, workload(files=(File(path, "x"),)), {})
    assert caught.value.reason == "UnsafePath"
    assert runtime.inspect(ONE).state is RunState.ABSENT


def test_links_laid_by_the_claw_are_not_followed(runtime: Any, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    runtime.write_files(ONE, workload())
    home = folder(runtime) / "state"
    (home / "out").symlink_to(outside)
    (home / "config").symlink_to(outside / "kept")
    with pytest.raises(GiveUp) as caught:
        runtime.write_files(ONE, workload(files=(File("out/kept", "lost"),)))
    assert caught.value.reason == "UnsafePath"
    runtime.write_files(ONE, workload(files=(File("config", "new"),)))
    assert (outside / "kept").read_text() == "kept"
    assert (home / "config").read_text() == "new" and not (home / "config").is_symlink()
    (home / "peek").symlink_to(outside / "kept")
    os.mkfifo(home / "pipe")
    for path in ("out/kept", "peek", "../../../outside/kept", "/etc/passwd", "pipe"):
        with pytest.raises(PermissionError):
            runtime.read_file(ONE, "state", path, 100)
    with pytest.raises(FileNotFoundError):
        runtime.read_file(ONE, "state", "missing", 100)
    with pytest.raises(FileNotFoundError):
        runtime.read_file(ONE, "run", "state.json", 100)
    assert runtime.read_file(ONE, "state", "config", 2) == b"ne"
    runtime.remove(ONE, keep_data=False)
    assert (outside / "kept").read_text() == "kept"


JUDGE = """
import json, os, sys
path = os.path.join(sys.argv[1], 'config.json')
config = json.load(open(path))
assert os.environ['CONFIG'] == path
if config['port'] < 1:
    print('key is', os.environ['KEY']); print('gateway.port: must be positive'); sys.exit(78)
"""


def judged(content: str, **fields: Any) -> Workload:
    check = Check(
        (*python(JUDGE).argv, "{candidate}"),
        env={"CONFIG": "{candidate}/config.json"},
        secret_env={"KEY": "key"},
        **{"timeout": 30, **fields},
    )
    return workload(files=(File("config.json", content), File("other", "x", root="work")), check=check)


def test_check_judges_a_candidate_and_hides_secrets(runtime: Any) -> None:
    runtime.write_files(ONE, judged('{"port": 80}'))
    runtime.check(ONE, judged('{"port": 81}'), {"key": SECRET})
    with pytest.raises(GiveUp) as caught:
        runtime.check(ONE, judged('{"port": 0}'), {"key": SECRET})
    verdict = caught.value
    assert verdict.reason == "ConfigRefused" and "gateway.port: must be positive" in verdict.message
    assert verdict.lines == ("key is ********", "gateway.port: must be positive")
    assert (folder(runtime) / "state/config.json").read_text() == '{"port": 80}'
    assert list((folder(runtime) / "tmp").iterdir()) == []


def test_check_that_hangs_or_is_missing(runtime: Any) -> None:
    began = time.monotonic()
    hanging = replace(judged("{}"), check=Check(python("import time; time.sleep(600)").argv, timeout=0.5))
    with pytest.raises(Retry) as slow:
        runtime.check(ONE, hanging, {})
    assert slow.value.reason == "CheckTimedOut" and time.monotonic() - began < 10
    with pytest.raises(GiveUp) as missing:
        runtime.check(ONE, replace(judged("{}"), check=Check(("/nowhere/claw", "check"))), {})
    assert missing.value.reason == "CheckMissing"
    runtime.check(ONE, workload(), {})


def test_ports(runtime: Any) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        listener.listen()
        assert not runtime.port_free(port)
        with socket.create_connection(("127.0.0.1", port)):
            server, _ = listener.accept()
            server.close()
    eventually(lambda: runtime.port_free(port), "a port that only lingers is free", 2)
    assert runtime.open_port(ONE, port) == ("127.0.0.1", port)


def test_capacity_and_layout(runtime: Any) -> None:
    found = runtime.capacity()
    assert (
        found.cpu_cores >= 1 and 0 < found.memory_available <= found.memory_bytes and 0 < found.disk_available <= found.disk_bytes
    )
    artifact = Artifact("tool", "1", "pip", ("tool==1",))
    layout = runtime.layout(ONE, [artifact])
    assert layout.artifacts == {"tool": str(runtime.base / "artifacts" / artifact.key)}
    assert len({layout.home, layout.state, layout.work, layout.tmp}) == 4


def test_a_file_that_is_no_longer_planned_goes(runtime: Any) -> None:
    persona = File("SOUL.md", "You are Bob.", root="work")
    seeded = File("notes.md", "mine", root="work", policy="seed_once")
    runtime.write_files(ONE, workload(files=(persona, seeded)))
    runtime.write_files(ONE, workload())
    work = folder(runtime) / "work"
    assert not (work / "SOUL.md").exists()
    assert (work / "notes.md").read_text() == "mine"  # the claw owns what was only seeded


def test_many_are_removed_at_once(runtime: Any) -> None:
    refs = [Ref(f"many-{number}") for number in range(24)]
    for ref in refs:
        runtime.write_files(ref, workload(files=tuple(File(f"deep/{name}/file", "x", root="work") for name in range(20))))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda ref: runtime.remove(ref, keep_data=False), refs))
    assert not any((runtime.base / "instances").iterdir())
