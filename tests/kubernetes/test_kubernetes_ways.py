"""The way to the API server: certificates in odd clothes, an intermediate as CA, proxies; nothing is shared by connections."""

from __future__ import annotations

import base64
import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kube_cluster import TEST_IMAGE, Cluster
from test_kubernetes_faults import REF, SLEEP, running

from clawportal.contracts.workloads import Workload
from clawportal.errors import Invalid, Problem, Unavailable
from clawportal.testing.certs import Authority
from clawportal.testing.proxy import ProxyDouble
from tests.kubernetes.double.api import KubeDouble

WORK = Workload(processes=(SLEEP,), image=TEST_IMAGE, stop_grace=2.0, memory_bytes=256 << 20)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def secure(authority: Authority, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster with TLS."""
    with KubeDouble(authority=authority) as double:
        found = Cluster(double.settings(), tmp_path, double)
        yield found
        found.end()


def with_ca(cluster: Cluster, data: str) -> dict[str, object]:
    assert cluster.double is not None
    return {"kubeconfig": cluster.double.kubeconfig(certificate_authority_data=data)}


# ---- nothing is shared


def test_closing_one_connection_leaves_others_with_the_same_ca(secure: Cluster) -> None:
    """A new connection, its streams too, goes on after others with the very same certificates were closed."""
    several = [secure.connect() for _ in range(3)]
    assert all(one.diagnose()[0].ok for one in several)
    for one in several[:2]:
        one.close()
    last = several[2]
    last.apply(REF, WORK, {})
    running(last)
    last.cluster.api._pool.clear()  # type: ignore[attr-defined]  # of this runtime: every connection is made anew from here on
    assert last.version() and last.observe()
    session = last.exec(REF, ("true",))
    session.close()


def test_no_file_holds_what_a_connection_was_given(secure: Cluster, authority: Authority, tmp_path: Path) -> None:
    paper = authority.client("portal")
    document = json.loads(secure.double.kubeconfig())  # type: ignore[union-attr]
    document["users"][0]["user"] |= {"client-certificate-data": b64(paper.certificate), "client-key-data": b64(paper.key)}
    before = set(os.listdir(tempfile.gettempdir()))
    runtime = secure.connect(kubeconfig=json.dumps(document))
    assert runtime.diagnose()[0].ok
    left = {one for one in set(os.listdir(tempfile.gettempdir())) - before if "kube" not in one and not one.startswith("pytest")}
    texts = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert not any("PRIVATE KEY" in text for text in texts)
    assert not any("PRIVATE KEY" in _text(Path(tempfile.gettempdir()) / one) for one in left)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace") if path.is_file() else ""
    except OSError:
        return ""


# ---- certificates as people paste them


CLOTHES: dict[str, Callable[[str], str]] = {
    "as planned": b64, "encoded twice": lambda text: b64(b64(text)), "plain": lambda text: text,
    "with lines": lambda text: "\n".join(b64(text)[at : at + 64] for at in range(0, len(b64(text)), 64)),
    "with a mark at its begin": lambda text: b64("\ufeff" + text),
}  # fmt: skip


@pytest.mark.parametrize("clothes", CLOTHES)
def test_a_ca_in_odd_clothes_is_read(secure: Cluster, authority: Authority, clothes: str) -> None:
    runtime = secure.connect(**with_ca(secure, CLOTHES[clothes](authority.root)))
    assert runtime.version().startswith("Kubernetes")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("hello", "neither PEM nor base64"), (b64("hello"), "neither PEM nor base64"), ("!!!", "neither PEM nor base64"),
        (b64("-----BEGIN CERTIFICATE-----\nabc"), "cut off"),
        (b64("-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n"), "damaged"),
        (b64("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n"), "private key, where a certificate"),
    ],
)  # fmt: skip
def test_a_ca_that_is_none_is_told_with_its_place(secure: Cluster, data: str, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        secure.connect(**with_ca(secure, data))
    assert caught.value.errors[0].path == "kubeconfig"
    assert words in caught.value.detail and "certificate-authority-data" in caught.value.detail


def test_a_key_of_another_certificate_is_told(secure: Cluster, authority: Authority) -> None:
    one, other = authority.client("one"), authority.client("other")
    document = json.loads(secure.double.kubeconfig())  # type: ignore[union-attr]
    document["users"][0]["user"] |= {"client-certificate-data": b64(one.certificate), "client-key-data": b64(other.key)}
    finding = secure.connect(kubeconfig=json.dumps(document)).diagnose()[0]
    assert not finding.ok and "does not belong to its key" in finding.message


def test_an_intermediate_is_enough(secure: Cluster, authority: Authority) -> None:
    runtime = secure.connect(**with_ca(secure, b64(authority.intermediate)))
    runtime.apply(REF, WORK, {})
    running(runtime)
    session = runtime.exec(REF, ("true",))  # streams trust the same
    session.close()


def test_another_ca_is_refused(secure: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, authority: Authority) -> None:
    """Also where the environment would trust it: what was given for this cluster counts, and nothing else."""
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(authority.root, encoding="ascii")
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(trusted))
    finding = secure.connect(**with_ca(secure, b64(Authority("Other").root))).diagnose()[0]
    assert not finding.ok and "not trusted" in finding.message


def test_the_ca_that_was_given_outranks_the_environment(secure: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_text(Authority("Other").root, encoding="ascii")
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "WEBSOCKET_CLIENT_CA_BUNDLE"):
        monkeypatch.setenv(name, str(other))
    runtime = secure.connect()
    runtime.apply(REF, WORK, {})
    running(runtime)
    session = runtime.exec(REF, ("true",))
    session.close()


# ---- proxies


@pytest.fixture
def proxy() -> Iterator[ProxyDouble]:
    with ProxyDouble("nora", "p@ss:wörd") as found:
        yield found


def far_away(cluster: Cluster) -> str:
    """Under a name that only the proxy knows, and by which its certificate is not asked for."""
    assert cluster.double is not None
    text = cluster.double.kubeconfig(tls_server_name="localhost")
    return text.replace("127.0.0.1", "api.cluster.example.internal")


def test_a_proxy_with_a_sign_in(secure: Cluster, proxy: ProxyDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests, watches, commands and ports of claws all sign in."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://nora:p%40ss%3Aw%C3%B6rd@127.0.0.1:{proxy.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    runtime = secure.connect(kubeconfig=far_away(secure), reach="tunnel")
    runtime.apply(REF, WORK, {})
    running(runtime)
    before = len(proxy.tunnels)
    session = runtime.exec(REF, ("true",))
    session.close()
    assert len(proxy.tunnels) > before, "the stream went through it"
    assert set(proxy.tunnels) == {"api.cluster.example.internal"}


def test_a_port_of_a_claw_through_a_proxy(secure: Cluster, proxy: ProxyDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent comes through whole, each connection signs in by itself, and a proxy that says no ends only that one."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://nora:p%40ss%3Aw%C3%B6rd@127.0.0.1:{proxy.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    runtime = secure.connect(kubeconfig=far_away(secure), reach="tunnel")
    runtime.apply(REF, WORK, {})
    running(runtime)
    with socket.create_server(("127.0.0.1", 0)) as claw:
        answering = threading.Thread(target=_give_back, args=(claw, 2), daemon=True)
        answering.start()
        near = runtime.open_port(REF, claw.getsockname()[1])
        before = len(proxy.tunnels)
        for sent in (b"hello", os.urandom(200_000)):
            with socket.create_connection(near, 10) as one:
                one.sendall(sent)
                assert _read(one, len(sent)) == sent
        answering.join(10)
        assert len(proxy.tunnels) == before + 2 and set(proxy.tunnels) == {"api.cluster.example.internal"}
        proxy.refuses = 403
        with socket.create_connection(near, 10) as one:
            assert one.recv(1) == b"", "it ends, and does not wait for ever"
        proxy.refuses = 0
        threading.Thread(target=_give_back, args=(claw, 1), daemon=True).start()
        with socket.create_connection(near, 10) as one:
            one.sendall(b"again")
            assert _read(one, 5) == b"again"


def _give_back(listener: socket.socket, times: int) -> None:
    """So many connections, one after the other: each gets back what it sends."""
    for _ in range(times):
        one, _where = listener.accept()
        with one:
            while data := one.recv(65_536):
                one.sendall(data)


def _read(one: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count and (data := one.recv(65_536)):
        found += data
    return found


@pytest.mark.parametrize("way", ["environment", "kubeconfig"])
def test_a_refused_sign_in_is_told_as_such(
    secure: Cluster, proxy: ProxyDouble, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    address = f"http://nora:wrong@127.0.0.1:{proxy.port}"
    text = far_away(secure)
    if way == "environment":
        monkeypatch.setenv("HTTPS_PROXY", address)
    else:
        document = json.loads(text)
        document["clusters"][0]["cluster"]["proxy-url"] = address
        text = json.dumps(document)
    runtime = secure.connect(kubeconfig=text)
    finding = runtime.diagnose()[0]
    assert not finding.ok and "proxy wants a sign-in" in finding.message and "certificate" not in finding.message
    assert "wrong" not in finding.message
    with pytest.raises(Unavailable, match="proxy wants a sign-in"):
        runtime.cluster.api.websocket("/x", {}, "v5.channel.k8s.io")  # type: ignore[attr-defined]  # of this runtime


def test_a_proxy_that_forbids_and_one_that_is_away(secure: Cluster, proxy: ProxyDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.refuses = 403
    monkeypatch.setenv("HTTPS_PROXY", proxy.address)
    with pytest.raises(Problem, match=r"proxy does not let the portal through \(403"):
        secure.connect(kubeconfig=far_away(secure)).version()
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with pytest.raises(Problem, match="its proxy does not answer"):
        secure.connect(kubeconfig=far_away(secure)).version()


def test_the_environment_says_what_needs_no_proxy(secure: Cluster, proxy: ProxyDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.address)
    assert secure.connect().version(), "loopback never goes through one"
    monkeypatch.setenv("NO_PROXY", ".example.internal")
    with pytest.raises(Problem, match="cannot be resolved"):
        secure.connect(kubeconfig=far_away(secure)).version()
    assert proxy.tunnels == []


def test_a_plain_server_behind_a_proxy(cluster: Cluster, proxy: ProxyDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a tunnel the proxy itself answers the request."""
    assert cluster.double is not None
    text = cluster.double.kubeconfig().replace("127.0.0.1", "api.cluster.example.internal")
    monkeypatch.setenv("HTTP_PROXY", f"http://nora:p%40ss%3Aw%C3%B6rd@127.0.0.1:{proxy.port}")
    assert cluster.connect(kubeconfig=text).version()
    monkeypatch.setenv("HTTP_PROXY", f"http://nora:wrong@127.0.0.1:{proxy.port}")
    with pytest.raises(Unavailable, match="proxy wants a sign-in"):
        cluster.connect(kubeconfig=text).version()
