"""What the Docker runtime decides without an engine: names, the hardening of a container, archives, progress, settings."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import docker.errors
import pydantic
import pytest

from clawportal.contracts.runtimes import NoFolderYet, Ref
from clawportal.contracts.workloads import Check, File, Image, Process, Workload
from clawportal.errors import Conflict, GiveUp, Retry
from clawportal.testing.lab import link, pieces, tar_of
from clawportal_docker import archives, diagnosis, images, naming
from clawportal_docker.containers import Containers
from clawportal_docker.errors import map_errors
from clawportal_docker.settings import DockerSettings

REF = Ref("01J0ABCDEF", "Nora's Helper", "01TENANT", "acme")
IMAGE = Image("registry.example.internal/claws/echo:1", {"python": "/usr"}, uid=1234, gid=2345)


def settings(**given: Any) -> DockerSettings:
    return DockerSettings.model_validate(given)


def workload(**given: Any) -> Workload:
    process = Process("main", ("/usr/bin/claw", "serve"), env={"MODE": "x"})
    return Workload(processes=(process,), image=IMAGE, **{"stop_grace": 7.0, "ports": {"gateway": 18700}, **given})


def body(given: Workload | None = None, *, network: str = "claw-acme", first: bool = True, **more: Any) -> dict[str, Any]:
    given = given or workload()
    return naming.container(
        settings(**more), REF, given, given.processes[0], naming.environment(REF, given.processes[0].env, {"KEY": "value"}),
        place="place-1", volume="claw-x-data", network=network, first=first,
    )  # fmt: skip


# ---- a container


def test_a_container_may_do_nothing_that_a_claw_does_not_need() -> None:
    assert body()["HostConfig"] == {
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "PidsLimit": 512,
        "Init": True,
        "ReadonlyRootfs": True,
        "NetworkMode": "claw-acme",
        "RestartPolicy": {"Name": "no"},
        "Tmpfs": {"/tmp": "rw,nosuid,nodev,mode=1777,size=268435456"},
        "Mounts": [{"Type": "volume", "Source": "claw-x-data", "Target": "/claw"}],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
    }


def test_limits_are_the_engines_and_swap_is_no_way_around_them() -> None:
    found = body(workload(memory_bytes=512 << 20, cpu_cores=1.5), processes=64, runtime="runsc")["HostConfig"]
    assert (found["Memory"], found["MemorySwap"]) == (512 << 20, 512 << 20)
    assert (found["NanoCpus"], found["PidsLimit"], found["Runtime"]) == (1_500_000_000, 64, "runsc")


def test_what_runs_is_named_and_labelled() -> None:
    found = body()
    assert found["User"] == "1234:2345" and found["Entrypoint"] == ["/usr/bin/claw", "serve"] and found["Cmd"] == []
    assert found["Hostname"] == "nora-s-helper" and found["WorkingDir"] == "/claw/work"
    assert {"HOME=/claw/home", "MODE=x", "KEY=value"} <= set(found["Env"])
    assert found["Labels"][naming.PLACE] == "place-1" and found["Labels"][naming.INSTANCE] == REF.instance_id
    assert found["StopTimeout"] == 7
    assert "value" not in str(found["Labels"])


def test_ports_are_published_only_where_addresses_cannot_be_reached() -> None:
    assert "PortBindings" not in body()["HostConfig"]
    remote = body(url="tcp://engine.example.internal:2376")
    assert remote["HostConfig"]["PortBindings"] == {"18700/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    assert remote["ExposedPorts"] == {"18700/tcp": {}}
    second = body(url="tcp://engine.example.internal:2376", network="container:abc", first=False)
    assert "PortBindings" not in second["HostConfig"] and "Hostname" not in second


def test_each_place_has_networks_of_its_own() -> None:
    assert naming.network_name("claw", "01PLACEAAAAAA", REF) == "claw-01tenant-aaaaaa"
    assert naming.network_name("claw", "01PLACEBBBBBB", REF) == "claw-01tenant-bbbbbb"


@pytest.mark.parametrize("bad", ["", "..", "a/b", "-x", "a" * 200, "a b"])
def test_an_id_that_could_mean_another_thing_is_no_id(bad: str) -> None:
    assert not naming.valid_id(bad)


# ---- images


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("python", ("python", "latest")),
        ("python:3.12-slim", ("python", "3.12-slim")),
        ("docker.io/library/python:3", ("docker.io/library/python", "3")),
        ("registry:5000/claw", ("registry:5000/claw", "latest")),
        ("registry:5000/claw:1", ("registry:5000/claw", "1")),
        ("registry:5000/claw@sha256:abc", ("registry:5000/claw", "sha256:abc")),
    ],
)
def test_references_of_images_are_taken_apart(reference: str, parts: tuple[str, str]) -> None:
    assert images.split(reference) == parts


class _Pulls:
    """An engine that tells these steps of a download."""

    def __init__(self, *steps: dict[str, Any]) -> None:
        self.steps, self.closed = steps, False

    def pull(self, repository: str, **options: Any) -> Any:
        return iter(self.steps)

    def close(self) -> None:
        self.closed = True


def test_progress_counts_the_bytes_of_all_layers() -> None:
    engine, heard = _Pulls(
        {"id": "a", "status": "Downloading", "progressDetail": {"current": 50, "total": 100}},
        {"id": "b", "status": "Downloading", "progressDetail": {"current": 0, "total": 100}},
        {"id": "a", "status": "Extracting", "progressDetail": {"current": 100, "total": 100}},
        {"id": "b", "status": "Pull complete"},
        {"status": "Digest: sha256:abc"},
    ), list[float | None]()  # fmt: skip
    images.pull(engine, "claw:1", lambda fraction, words: heard.append(fraction))
    assert heard == [None, 0.25, 0.125, 0.5, 1.0, 1.0] and engine.closed


@pytest.mark.parametrize(
    ("words", "kind", "reason"),
    [
        ("pull access denied for claw", GiveUp, "ImageNotFound"),
        ("manifest unknown", GiveUp, "ImageNotFound"),
        ("connection reset by peer", Retry, "ImagePullFailed"),
    ],
)
def test_a_download_that_fails_says_whether_it_may_heal(words: str, kind: type[Exception], reason: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        images.pull(_Pulls({"error": words}), "claw:1", lambda fraction, said: None)
    assert caught.value.reason == reason  # type: ignore[attr-defined]  # both have it


# ---- archives


@pytest.mark.parametrize("bad", ["/etc/passwd", "../x", "a/../../x", "a\0b"])
def test_a_path_that_leads_out_is_refused(bad: str) -> None:
    with pytest.raises(GiveUp) as caught:
        archives.inside(bad)
    assert caught.value.reason == "UnsafePath"


def _cleaned(raw: bytes, how: archives.Cleaned | None = None) -> dict[str, tarfile.TarInfo]:
    out = b"".join(archives.cleaned(pieces(raw, 1000), how or archives.Cleaned("in", 7, 8)))
    with tarfile.open(fileobj=io.BytesIO(out)) as tar:
        return {entry.name: entry for entry in tar}


def test_what_is_sent_belongs_to_the_claw_and_gains_no_rights() -> None:
    found = _cleaned(tar_of({"run": (0o6755, b"x" * 5000), "sub/": (0o700, b"")}))
    assert (found["in/run"].uid, found["in/run"].gid, found["in/run"].mode) == (7, 8, 0o755)
    assert found["in/sub"].isdir()


@pytest.mark.parametrize(
    "entry",
    [
        link("l", "/etc"),
        link("l", "../.."),
        link("a/l", "../../x"),
        link("l", "/etc/passwd", tarfile.LNKTYPE),
        link("dev", "", tarfile.CHRTYPE),
        link("pipe", "", tarfile.FIFOTYPE),
        link("../out", "x"),
    ],
    ids=lambda entry: f"{entry.name}-{entry.linkname}-{entry.type!r}",
)
def test_an_archive_cannot_reach_out_of_its_folder(entry: tarfile.TarInfo) -> None:
    with pytest.raises(GiveUp) as caught:
        _cleaned(tar_of({}, entry))
    assert caught.value.reason == "UnsafePath"


def test_an_archive_cannot_write_through_a_link() -> None:
    first = io.BytesIO()
    with tarfile.open(fileobj=first, mode="w") as tar:
        tar.addfile(link("l", "sub"))
        below = tarfile.TarInfo("l/file")
        tar.addfile(below)
    with pytest.raises(GiveUp):
        _cleaned(first.getvalue())
    with pytest.raises(GiveUp):  # through one that was there before
        _cleaned(tar_of({"old/file": (0o600, b"x")}), archives.Cleaned("in", 7, 8, frozenset({"in/old"})))


def test_half_an_archive_is_told() -> None:
    with pytest.raises(GiveUp) as caught:
        _cleaned(tar_of({"a": (0o600, b"x" * 50_000)})[:20_000])
    assert caught.value.reason == "BadArchive"


def test_files_of_a_workload_come_with_their_folders() -> None:
    raw = archives.of_files([File("a/b.json", "{}", root="state", mode=0o600)], 7, 8)
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        found = {entry.name: (entry.uid, entry.mode) for entry in tar}
    assert found["state/a/b.json"] == (7, 0o600) and found["state/a"] == (7, 0o700) and {"home", "work"} <= set(found)
    with pytest.raises(GiveUp):
        archives.of_files([File("../x", "", root="state")], 7, 8)


# ---- verdicts


@pytest.mark.parametrize(
    ("status", "words", "kind", "reason"),
    [
        (409, "it runs", Conflict, ""),
        (500, "write /x: no space left on device", Retry, "DiskFull"),
        (500, "port is already allocated", Retry, "PortTaken"),
        (400, "exec: executable file not found in $PATH", GiveUp, "CommandMissing"),
        (400, "Unknown runtime specified runsc", GiveUp, "EngineRefuses"),
        (500, "oops", Retry, "EngineError"),
    ],
)
def test_an_engines_answer_becomes_a_verdict(status: int, words: str, kind: type[Exception], reason: str) -> None:
    class _Answer:
        status_code, reason, url = status, "", ""

    with pytest.raises(kind, match=r"\w") as caught, map_errors(REF):
        raise docker.errors.APIError("x", _Answer(), words)
    assert getattr(caught.value, "reason", "") == reason or kind is Conflict


def test_a_judge_speaks_the_claws_words_without_its_secrets() -> None:
    with pytest.raises(GiveUp) as caught:
        diagnosis.judge(Check(("claw",)), 1, ["bad key s3cret-value in line 2"], ["s3cret-value"])
    assert "s3cret-value" not in str(caught.value) and "bad key ******** in line 2" in str(caught.value)
    with pytest.raises(Retry):
        diagnosis.judge(Check(("claw",)), None, [], [])
    diagnosis.judge(Check(("claw",)), 0, [], [])


# ---- settings


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"url": "docker.sock"}, "must be such as unix"),
        ({"url": "tcp://host"}, "must be such as unix"),
        ({"network": "none"}, "does not let the portal reach"),
        ({"network": "../x"}, "must be tenant, host, or the name"),
        ({"prefix": "Claw_"}, "pattern"),
        ({"tmp_size": "1Ki"}, "must be 1Mi at least"),
        ({"log_size": "10"}, "pattern"),
        ({"processes": 1}, "greater than or equal to 16"),
        ({"tls_cert": "x"}, "needed together"),
        ({"tls_key": "x"}, "needed together"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=words):
        settings(**given)


def test_claws_are_reached_by_address_only_on_this_machine() -> None:
    assert settings().by_address
    assert not settings(url="tcp://h:2376").by_address and not settings(url="ssh://me@h").by_address
    assert settings(url="tcp://h:2376", reach="address").by_address and not settings(reach="published").by_address


def test_a_claw_that_never_ran_has_no_folder_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Containers.__new__(Containers)
    monkeypatch.setattr(found, "main", lambda ref: None, raising=False)
    monkeypatch.setattr(found, "of", lambda ref, previous=False: [], raising=False)
    with pytest.raises(NoFolderYet, match="never started"):
        found.any(REF)
