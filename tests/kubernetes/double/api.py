"""A double of a Kubernetes cluster for tests: speaks the API over HTTP and WebSocket, and really runs what pods name.

`KubeDouble` is a context manager. Its knobs bring the faults of real clusters: a server that is away, history that expired,
rights that are missing, images that do not exist, a node that is lost.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from clawportal.testing.certs import Authority
from tests.kubernetes.double.kubelet import NODE, Container, Controllers, PodWorker, hear_signals, stamp
from tests.kubernetes.double.store import KINDS, Json, Key, Refused, Store, matches, now

_PYTHON = "/usr/local/bin/python3"
_PAIR = re.compile(rb"\\\\u[dD][89abAB]")
"""Half of a character beyond the basic plane as JSON escapes it; the server reads an apply as YAML, which has no such pairs."""
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSIONS = {"": "v1", "apps": "apps/v1", "networking.k8s.io": "networking.k8s.io/v1", "storage.k8s.io": "storage.k8s.io/v1"}
TOKEN = "double-token"


class KubeDouble:
    """One cluster of one node, on a free port of the loopback."""

    def __init__(self, *, idle: bool = False, authority: Authority | None = None) -> None:
        self.authority = authority
        """With it the server speaks TLS, and shows a certificate of the intermediate's."""
        self._temporary = tempfile.TemporaryDirectory(prefix="kube-double-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name).resolve()
        self.mounts = self.folder / "mnt"
        self.mounts.mkdir()
        self.programs = self.folder / "bin"
        self._lay_programs()
        self.store = Store()
        self.idle = idle
        """On: pods stay as they are made; a test sets their status."""
        self.tokens = {TOKEN: "portal"}
        self.denied: set[tuple[str, str]] = set()
        """Verb and resource, as `("create", "pods/exec")`, that the user may not."""
        self.used: set[tuple[str, str]] = set()
        """Verb and resource of everything that was asked for."""
        self.missing_images: set[str] = set()
        self.silent_node = False
        """On: what was deleted stays, as when its node is lost."""
        self.slow_status = 0.0
        """Seconds by which the node tells later that a container runs than the container speaks."""
        self.bind_seconds = 0.0
        """How long the cluster takes to make a volume."""
        self.metrics = True
        self.bookmark_seconds = 20.0
        self.requests: Counter[str] = Counter()
        self.listed: dict[tuple[int, str, str, str, str], list[Json]] = {}
        self.workers: dict[str, PodWorker] = {}
        self.away = False
        """On: connections are closed without an answer."""
        self._speaks = threading.Event()
        self._speaks.set()
        self.mounted: dict[Path, Path] = {}
        """The home of each volume by the path where it is mounted just now."""
        self._mounting = threading.Lock()
        self._usage: dict[str, tuple[float, float]] = {}
        self._count = itertools.count(1)
        self._connections: set[socket.socket] = set()
        self.frames: weakref.WeakSet[_Frames] = weakref.WeakSet()
        self._controllers = Controllers(self)
        self._server = _Server(("127.0.0.1", 0), self)
        if authority is not None:
            self._server.tls = authority.context()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="API double", daemon=True)

    def found_here(self, argv: list[str]) -> list[str]:
        """The Python of an image is the one of this machine."""
        return [sys.executable if part == _PYTHON else part for part in argv]

    def _lay_programs(self) -> None:
        """Images have the tar of busybox, which minds the umask whatever it is told."""
        self.programs.mkdir()
        tar = self.programs / "tar"
        tar.write_text(f'#!/bin/sh\nexec {shutil.which("tar")} "$@" --no-same-permissions\n', encoding="utf-8")
        tar.chmod(0o755)

    @property
    def address(self) -> str:
        return f"{'https' if self.authority else 'http'}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> KubeDouble:
        node = {
            "apiVersion": "v1", "kind": "Node", "metadata": {"labels": {"kubernetes.io/hostname": NODE}},
            "status": {"allocatable": {"cpu": "8", "memory": "16Gi", "ephemeral-storage": "100Gi"}},
        }  # fmt: skip
        self.store.create(("/nodes", "", NODE), node)
        self.add_storage_class("standard", default=True)
        for name in ("default", "kube-system"):
            self.store.create(("/namespaces", "", name), {"apiVersion": "v1", "kind": "Namespace", "metadata": {}})
        self._controllers.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._speaks.set()
        self._controllers.end()
        for worker in list(self.workers.values()):
            worker.end(0.0)
        for worker in list(self.workers.values()):
            worker.join(5)
        self._server.shutdown()
        self.cut()
        self._server.server_close()
        self._temporary.cleanup()

    # ---- knobs

    def kubeconfig(self, token: str = TOKEN, **cluster: str) -> str:
        """`cluster`: what is said beside the server, with `_` for `-`."""
        ca = {"certificate-authority-data": base64.b64encode(self.authority.root.encode()).decode()} if self.authority else {}
        said = {"server": self.address, **ca, **{name.replace("_", "-"): value for name, value in cluster.items()}}
        return json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "double",
            "clusters": [{"name": "double", "cluster": said}],
            "users": [{"name": "portal", "user": {"token": token}}],
            "contexts": [{"name": "double", "context": {"cluster": "double", "user": "portal"}}],
        })  # fmt: skip

    def settings(self) -> Json:
        """What a portal must be told to use it."""
        return {"kubeconfig": self.kubeconfig(), "mount_path": f"{self.mounts}/{{instance}}", "volume_size": "1Gi"}

    def add_storage_class(self, name: str, *, default: bool = False) -> None:
        notes = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
        body = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"annotations": notes},
            "provisioner": "double",
        }
        self.store.create(("storage.k8s.io/storageclasses", "", name), body)

    def keep_listed(self, key: tuple[int, str, str, str, str], items: list[Json]) -> None:
        """For the next pages of a long list: they tell of the moment of the first."""
        self.listed[key] = items
        while len(self.listed) > 8:
            self.listed.pop(next(iter(self.listed)), None)

    def cut(self) -> None:
        """End every open connection."""
        for one in list(self._connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def ping(self) -> None:
        """On every WebSocket, as what stands between a client and the server may do."""
        for one in list(self.frames):
            with contextlib.suppress(OSError):
                one.send(b"", 9)

    def go_away(self) -> None:
        self.away = True
        self.cut()

    def go_mute(self) -> None:
        """Every connection is taken, and nothing is ever answered."""
        self._speaks.clear()
        self.cut()

    def come_back(self) -> None:
        self.away = False
        self._speaks.set()

    def mount(self, path: Path, home: Path) -> None:
        """Move a volume to its path, and what was there home: so programs see the very path that they were told."""
        with self._mounting:
            there = self.mounted.get(path)
            if there == home:
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            if there is not None:
                there.parent.mkdir(parents=True, exist_ok=True)
                path.rename(there)
            if home in self.mounted.values():
                return
            home.rename(path)
            self.mounted[path] = home

    def unmount(self, folder: Path) -> None:
        """Move what belongs to a pod's own folder back into it."""
        with self._mounting:
            for path, home in list(self.mounted.items()):
                if home.is_relative_to(folder):
                    home.parent.mkdir(parents=True, exist_ok=True)
                    path.rename(home)
                    del self.mounted[path]

    def lose_node(self) -> None:
        """Its kubelet says nothing any more. The cluster notes that of each pod, which runs on as far as it knows."""
        self.silent_node = True
        for pod in self.store.select("/pods", "", "")[1]:
            status = json.loads(json.dumps(pod["status"]))
            for one in status.get("conditions", ()):
                if one["type"] == "Ready":
                    one |= {"status": "False", "lastTransitionTime": now()}
            key = ("/pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
            self.set_status(key, pod["metadata"]["uid"], status)
            self.event(pod, "Warning", "NodeNotReady", "Node is not ready")

    def find_node(self) -> None:
        """The kubelet speaks again, and tells of all that runs."""
        self.silent_node = False
        for worker in list(self.workers.values()):
            worker._report("Running")

    def set_status(self, key: Key, uid: str, status: Json) -> None:
        with self.store.lock, contextlib.suppress(Refused):
            found = self.store.get(key)
            if found["metadata"]["uid"] == uid:
                self.store.update(key, {**found, "status": status}, "kubelet", status=True)

    def event(self, about: Json, level: str, reason: str, message: str) -> None:
        """Equal events are counted, as the real server's clients do."""
        meta = about["metadata"]
        mark = hashlib.sha256(f"{meta['uid']}{reason}{message}".encode()).hexdigest()[:16]
        key = ("/events", meta["namespace"], f"{meta['name']}.{mark}")
        body = {
            "apiVersion": "v1", "kind": "Event", "metadata": {}, "type": level, "reason": reason, "message": message, "count": 1,
            "lastTimestamp": now(), "firstTimestamp": now(),
            "involvedObject": {"kind": about["kind"], "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
        }  # fmt: skip
        with self.store.lock, contextlib.suppress(Refused):
            if key[1:] not in self.store.objects["/events"]:
                self.store.create(key, body)
            else:
                found = self.store.get(key)
                if found["lastTimestamp"] != now():
                    self.store.update(key, {**found, "count": found["count"] + 1, "lastTimestamp": now()}, "events")

    def usage(self) -> list[Json]:
        """As metrics.k8s.io tells it: the rate since the last look."""
        found = []
        for worker in list(self.workers.values()):
            cpu, memory, _ = worker.usage()
            at = time.monotonic()
            before, then = self._usage.get(worker.uid, (0.0, at - 1.0))
            self._usage[worker.uid] = (cpu, at)
            rate = max(0.0, cpu - before) / max(0.001, at - then)
            found.append({
                "metadata": {"name": worker.title, "namespace": worker.space, "labels": worker.pod["metadata"].get("labels", {})},
                "timestamp": stamp(),
                "containers": [{
                    "name": worker.containers[0].name, "usage": {"cpu": f"{int(rate * 1e9)}n", "memory": f"{memory // 1024}Ki"},
                }],
            })  # fmt: skip
        return found

    def summary(self) -> Json:
        """As a kubelet tells it."""
        pods = []
        for worker in list(self.workers.values()):
            cpu, memory, count = worker.usage()
            pods.append({
                "podRef": {"name": worker.title, "namespace": worker.space, "uid": worker.uid},
                "cpu": {"time": stamp(), "usageCoreNanoSeconds": int(cpu * 1e9)}, "memory": {"workingSetBytes": memory},
                "process_stats": {"process_count": count}, "containers": [{"name": one.name} for one in worker.containers],
                "volume": [{"name": "data", "usedBytes": _size(self.mounted, worker.where.get("data"))}],
            })  # fmt: skip
        return {"node": {"nodeName": NODE}, "pods": pods}


def _size(mounted: dict[Path, Path], home: Path | None) -> int:
    where = next((path for path, one in mounted.items() if one == home), home)
    return sum(path.lstat().st_size for path in where.rglob("*")) if where else 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], double: KubeDouble) -> None:
        super().__init__(address, _Handler)
        self.double = double
        self.tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the thread of the connection, so that a slow handshake holds up nobody else."""
        if self.tls is not None:
            request = self.tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536
    server: _Server

    @property
    def double(self) -> KubeDouble:
        return self.server.double

    @property
    def store(self) -> Store:
        return self.server.double.store

    def setup(self) -> None:
        super().setup()
        self.double._connections.add(self.connection)

    def finish(self) -> None:
        self.double._connections.discard(self.connection)
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _serve(self) -> None:
        if self.double.away or not self.double._speaks.is_set():
            self.double._speaks.wait()
            self.close_connection = True
            return
        parts = urlsplit(self.path)
        self.query = dict(parse_qs(parts.query, keep_blank_values=True).items())
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.double.requests[f"{self.command} {parts.path}"] += 1
        try:
            self._user()
            if "apply" in self.headers.get("Content-Type", "") and _PAIR.search(raw):
                words = "error decoding YAML: error converting YAML to JSON: yaml: found invalid Unicode character escape code"
                raise Refused(400, "BadRequest", words)
            self._route(parts.path, json.loads(raw) if raw else None)
        except Refused as error:
            self._answer(error.document(), error.status)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        self.wfile.flush()

    def _user(self) -> None:
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or token not in self.double.tokens:
            raise Refused(401, "Unauthorized", "Unauthorized")

    def one(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[0]

    def _answer(self, body: Json, status: int = 200) -> None:
        self._send(json.dumps(body).encode(), status)

    def _send(self, data: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    # ---- routes

    def _route(self, path: str, body: Any) -> None:
        if path == "/version":
            return self._answer({"major": "1", "minor": "36", "gitVersion": "v1.36.0-double"})
        if path.endswith("/selfsubjectaccessreviews"):
            return self._review(body)
        if path.endswith("/selfsubjectreviews"):
            return self._answer({"status": {"userInfo": {"username": "portal"}}}, 201)
        if path.startswith("/apis/metrics.k8s.io/v1beta1"):
            return self._metrics(path)
        steps = path.strip("/").split("/")
        group = "" if steps[0] == "api" else steps[1]
        rest = steps[2:] if steps[0] == "api" else steps[3:]
        space = ""
        if rest and rest[0] == "namespaces" and len(rest) > 2:
            space, rest = rest[1], rest[2:]
        resource = f"{group}/{rest[0]}" if rest else ""
        if resource not in KINDS:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        if len(rest) > 2:
            return self._below(resource, space, rest[1], rest[2:])
        key = (resource, space, rest[1] if len(rest) == 2 else (body or {}).get("metadata", {}).get("name", ""))
        verb = {"GET": "get" if len(rest) == 2 else "watch" if self.one("watch") else "list", "POST": "create", "PUT": "update",
                "PATCH": "patch", "DELETE": "delete"}[self.command]  # fmt: skip
        self._may(verb, rest[0])
        getattr(self, f"_{verb}")(key, body)

    def _may(self, verb: str, resource: str) -> None:
        self.double.used.add((verb, resource))
        if (verb, resource) in self.double.denied:
            name = resource.partition("/")[0]
            words = f'User "portal" cannot {verb} resource "{resource}" in API group "" at the cluster scope'
            raise Refused(403, "Forbidden", f'{name} "x" is forbidden: {words}')

    def _review(self, body: Json) -> None:
        told = body["spec"]["resourceAttributes"]
        resource = told["resource"] + (f"/{told['subresource']}" if told.get("subresource") else "")
        if told.get("group") == "metrics.k8s.io":
            resource += ".metrics.k8s.io"
        self._answer({**body, "status": {"allowed": (told["verb"], resource) not in self.double.denied}}, 201)

    def _metrics(self, path: str) -> None:
        if not self.double.metrics:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        if path.endswith("/pods"):
            chosen = self.one("labelSelector")
            return self._answer({"metadata": {}, "items": [one for one in self.double.usage() if matches(one, chosen)]})
        if path.endswith("/nodes"):
            return self._answer({"metadata": {}, "items": [{"metadata": {"name": NODE}, "usage": {"cpu": "1", "memory": "4Gi"}}]})
        self._answer({"kind": "APIResourceList", "resources": []})

    # ---- verbs

    def _get(self, key: Key, _: Any) -> None:
        self._answer(self.store.get(key))

    def _list(self, key: Key, _: Any) -> None:
        wanted = (key[0], key[1], self.one("labelSelector"), self.one("fieldSelector"))
        if self.one("continue"):
            version, start = (int(part) for part in self.one("continue").split("."))
            if version < self.store.expired:
                raise Refused(410, "Expired", "The provided continue parameter is too old")
            items = self.double.listed.get((version, *wanted)) or self.store.select(*wanted)[1]
        else:
            (version, items), start = self.store.select(*wanted), 0
        limit = int(self.one("limit") or 0) or len(items)
        if start + limit < len(items):
            self.double.keep_listed((version, *wanted), items)
        meta: Json = {"resourceVersion": str(version)}
        if start + limit < len(items):
            meta["continue"] = f"{version}.{start + limit}"
        kind = KINDS[key[0]]
        head = json.dumps({"kind": f"{kind}List", "apiVersion": "v1", "metadata": meta})
        texts = ",".join(map(self.store.text, items[start : start + limit]))
        self._send(f'{head[:-1]}, "items": [{texts}]}}'.encode())

    def _create(self, key: Key, body: Json) -> None:
        found = self.store.create(key, body, self.one("fieldManager", "test"), dry=bool(self.one("dryRun")))
        self._answer(found, 201)

    def _update(self, key: Key, body: Json) -> None:
        self._answer(self.store.update(key, body, self.one("fieldManager", "test")))

    def _patch(self, key: Key, body: Any) -> None:
        manager = self.one("fieldManager", "test")
        if "apply-patch" in self.headers["Content-Type"]:
            forced, strict = self.one("force") == "true", self.one("fieldValidation") == "Strict"
            found, new = self.store.apply(key, body, manager, force=forced, strict=strict)
            return self._answer(found, 201 if new else 200)
        if "json-patch" in self.headers["Content-Type"]:
            return self._answer(self.store.replace(key, body, manager))
        self._answer(self.store.patch(key, body, manager))

    def _delete(self, key: Key, body: Json | None) -> None:
        body = body or {}
        uid = (body.get("preconditions") or {}).get("uid", "")
        if key[0] == "/namespaces":
            with self.store.lock:
                found = self.store.get(key)
                found["metadata"]["deletionTimestamp"] = now()
                return self._answer(self.store._put(key, found, "MODIFIED", self.store.objects[key[0]][key[1:]]))
        self._answer(self.store.delete(key, uid=uid, grace=body.get("gracePeriodSeconds")))

    # ---- watching

    def _chunked(self) -> Callable[[bytes], None]:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

        def write(data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

        return write

    def _watch(self, key: Key, _: Any) -> None:
        version = int(self.one("resourceVersion") or self.store.version)
        chosen, until = self.one("labelSelector"), time.monotonic() + float(self.one("timeoutSeconds") or 300)
        write = self._chunked()
        self.wfile.flush()
        marked = time.monotonic()
        try:
            while time.monotonic() < until and not self.double.away:
                changes = self.store.since(version, key[0], 0.5)
                told = b""
                for change in changes:
                    version = change.version
                    told += _line(change, key[1], chosen)
                if not changes:
                    with self.store.lock:
                        if not self.store._after(version, key[0]):
                            version = max(version, self.store.version)
                    if time.monotonic() - marked > self.double.bookmark_seconds:
                        marked = time.monotonic()
                        told += json.dumps({
                            "type": "BOOKMARK", "object": {"kind": KINDS[key[0]], "metadata": {"resourceVersion": str(version)}}
                        }).encode() + b"\n"  # fmt: skip
                if told:
                    write(told)
        except Refused as error:
            write(json.dumps({"type": "ERROR", "object": error.document()}).encode() + b"\n")
        self.wfile.write(b"0\r\n\r\n")

    # ---- below pods and nodes

    def _below(self, resource: str, space: str, name: str, rest: list[str]) -> None:
        if resource == "/nodes" and rest[0] == "proxy":
            self._may("get", "nodes/proxy")
            return self._answer(self.double.summary())
        if rest[0] == "status":
            key = (resource, space, name)
            return self._answer(self.store.get(key))
        self._may("get", f"pods/{rest[0]}")
        if resource != "/pods" or rest[0] not in ("log", "exec", "portforward"):
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        pod = self.store.get(("/pods", space, name))
        worker = self.double.workers.get(pod["metadata"]["uid"])
        if worker is None:
            raise Refused(400, "BadRequest", f"pod {name} does not have a host assigned")
        getattr(self, f"_{rest[0]}")(worker)

    def _log(self, worker: PodWorker) -> None:
        container = worker.find(self.one("container"))
        run = container.runs - (1 if self.one("previous") == "true" else 0)
        if run < 1 or (self.one("previous") == "true" and not container.last):
            begun = all("terminated" in one.state for one in worker.init)
            words = (
                "previous terminated container not found" if self.one("previous")
                else "is not available" if begun else "is waiting to start: PodInitializing"
            )  # fmt: skip
            raise Refused(400, "BadRequest", f'container "{container.name}" in pod "{worker.title}" {words}')
        if self.one("previous") != "true" and "waiting" in container.state:
            run = container.runs
        write = self._chunked()
        self._stream_log(worker, container, run, write)
        self.wfile.write(b"0\r\n\r\n")

    def _stream_log(self, worker: PodWorker, container: Container, run: int, write: Callable[[bytes], None]) -> None:
        path, since, tail = container.log(run), self.one("sinceTime"), self.one("tailLines")
        try:
            file = open(path, "rb")  # noqa: SIM115  # closed below, also where a follower goes on
        except OSError:
            return
        with file:
            lines = [
                line for line in file.read().split(b"\n")[:-1] if not since or line.split(b" ")[0].decode() >= since.rstrip("Z")
            ]
            lines = lines[-int(tail) :] if tail and int(tail) else [] if tail else lines
            stamped = self.one("timestamps") == "true"
            text = b"".join((line if stamped else line.partition(b" ")[2]) + b"\n" for line in lines)
            for start in range(0, len(text), 65536):
                write(text[start : start + 65536])
            self.wfile.flush()
            while self.one("follow") == "true" and container.runs == run and not self.double.away:
                ended = worker.gone or "running" not in container.state
                more = file.read()
                if more:
                    write(more)
                elif ended:
                    return
                else:
                    time.sleep(0.05)

    # ---- WebSockets

    def _upgrade(self, accepted: tuple[str, ...]) -> _Frames:
        asked = [one.strip() for one in self.headers.get("sec-websocket-protocol", "").split(",")]
        chosen = next((one for one in asked if one in accepted), None)
        if self.headers.get("Upgrade", "").lower() != "websocket" or chosen is None:
            raise Refused(400, "BadRequest", "unable to upgrade: no known protocol was offered")
        token = base64.b64encode(hashlib.sha1(self.headers["Sec-WebSocket-Key"].encode() + _GUID).digest()).decode()  # RFC 6455
        self.send_response(101)
        for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", token),
                            ("Sec-WebSocket-Protocol", chosen)):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        frames = _Frames(self.connection, self.rfile)
        self.double.frames.add(frames)
        return frames

    def _exec(self, worker: PodWorker) -> None:
        container = worker.find(self.one("container"))
        if "running" not in container.state:
            raise Refused(500, "InternalError", f'container not found ("{container.name}")')
        frames = self._upgrade(("v5.channel.k8s.io", "v4.channel.k8s.io"))
        argv = self.double.found_here(self.query["command"])
        _Exec(frames, container, argv, tty=self.one("tty") == "true", stdin=self.one("stdin") == "true").run()

    def _portforward(self, worker: PodWorker) -> None:
        port = int(self.one("ports"))
        frames = self._upgrade(("v4.channel.k8s.io", "portforward.k8s.io"))
        for channel in (0, 1):
            frames.send(bytes([channel]) + struct.pack("<H", port))
        try:
            far = socket.create_connection(("127.0.0.1", port), 5)
        except OSError as error:
            frames.send(b"\1" + f"error forwarding port {port} to pod: {error}".encode())
            return frames.close()
        far.settimeout(None)

        def down() -> None:
            with contextlib.suppress(OSError):
                while data := far.recv(32768):
                    frames.send(b"\0" + data)
            frames.close()

        threading.Thread(target=down, name="forwarded port", daemon=True).start()
        try:
            while (data := frames.receive()) is not None:
                if data[:1] == b"\0":
                    far.sendall(data[1:])
        except OSError:
            pass  # one of the two ends is gone
        finally:
            with contextlib.suppress(OSError):
                far.shutdown(socket.SHUT_RDWR)
            far.close()


def _line(change: Any, space: str, chosen: str) -> bytes:
    if space and change.object["metadata"].get("namespace") != space:
        return b""
    kind = change.kind
    if not matches(change.object, chosen):
        if change.before is None or not matches(change.before, chosen):
            return b""
        kind = "DELETED"
    elif kind == "MODIFIED" and change.before is not None and not matches(change.before, chosen):
        kind = "ADDED"
    return json.dumps({"type": kind, "object": change.object}).encode() + b"\n"


class _Frames:
    """The server's side of RFC 6455, as far as it is needed here."""

    def __init__(self, connection: socket.socket, reader: Any) -> None:
        self.connection, self.reader = connection, reader
        self._lock = threading.Lock()
        self._closed = False

    def send(self, data: bytes, opcode: int = 2) -> None:
        size = len(data)
        head = bytes([0x80 | opcode])
        head += bytes([size]) if size < 126 else struct.pack("!BH", 126, size) if size < 65536 else struct.pack("!BQ", 127, size)
        with self._lock:
            self.connection.sendall(head + data)

    def receive(self) -> bytes | None:
        """The next message; None at the end."""
        whole = b""
        while True:
            head = self.reader.read(2)
            if len(head) < 2:
                return None
            final, opcode, size = head[0] & 0x80, head[0] & 0x0F, head[1] & 0x7F
            if size > 125:
                size = struct.unpack("!H" if size == 126 else "!Q", self.reader.read(2 if size == 126 else 8))[0]
            mask = self.reader.read(4) if head[1] & 0x80 else b"\0\0\0\0"
            data = _unmasked(self.reader.read(size), mask)
            if opcode == 8:
                return None
            if opcode == 9:
                self.send(data, 10)
            elif opcode in (0, 1, 2):
                whole += data
                if final:
                    return whole

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            with contextlib.suppress(OSError):
                self.send(struct.pack("!H", 1000), 8)
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_WR)


def _unmasked(data: bytes, mask: bytes) -> bytes:
    size = len(data)
    whole = int.from_bytes(mask * (size // 4 + 1), "little") & ((1 << (8 * size)) - 1)
    return (int.from_bytes(data, "little") ^ whole).to_bytes(size, "little")


class _Exec:
    """One command in a container."""

    def __init__(self, frames: _Frames, container: Container, argv: list[str], *, tty: bool, stdin: bool) -> None:
        self.frames, self.container, self.argv, self.tty, self.stdin = frames, container, argv, tty, stdin
        self.master = -1

    def run(self) -> None:
        if self._left():
            return self.frames.close()
        try:
            process = self._start()
        except OSError as error:
            words = f'error executing command in container: exec: "{self.argv[0]}": executable file not found: {error.strerror}'
            self._finish({"status": "Failure", "reason": "InternalError", "message": words, "code": 500})
            return
        readers = self._readers(process)
        threading.Thread(target=self._input, args=(process,), name="exec input", daemon=True).start()
        code = process.wait()
        for reader in readers:
            reader.join(2)
        self._finish(_outcome(128 - code if code < 0 else code))

    def _left(self) -> bool:
        """A node takes its time to begin a command, and does not when the connection has ended by then."""
        with contextlib.suppress(OSError):
            ready, _, _ = select.select([self.frames.connection], [], [], 0.05)
            return bool(ready) and self.frames.reader.peek(1)[:1] in (b"", b"\x88")
        return True

    def _start(self) -> subprocess.Popen[Any]:
        where = self.container.spec.get("workingDir") or "/"
        common: dict[str, Any] = {"env": {**self.container.env}, "cwd": where, "start_new_session": True}
        if not self.tty:
            source = subprocess.PIPE if self.stdin else subprocess.DEVNULL
            streams: dict[str, Any] = {"stdin": source, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "bufsize": 0}
            return subprocess.Popen(self.argv, preexec_fn=hear_signals, **streams, **common)
        self.master, follower = pty.openpty()
        common["env"]["TERM"] = "xterm"

        def lead() -> None:
            hear_signals()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        try:
            return subprocess.Popen(self.argv, stdin=follower, stdout=follower, stderr=follower, preexec_fn=lead, **common)
        finally:
            os.close(follower)

    def _readers(self, process: subprocess.Popen[bytes]) -> list[threading.Thread]:
        sources = [(1, self.master)] if self.tty else [(1, process.stdout.fileno()), (2, process.stderr.fileno())]  # type: ignore[union-attr]  # pipes were asked for
        threads = [
            threading.Thread(target=self._output, args=(channel, handle, process), daemon=True) for channel, handle in sources
        ]
        for thread in threads:
            thread.start()
        return threads

    def _output(self, channel: int, handle: int, process: subprocess.Popen[bytes]) -> None:
        try:
            while True:
                ready, _, _ = select.select([handle], [], [], 0.2)
                if not ready:
                    if process.poll() is not None:
                        return  # what it left behind still holds the pipe
                    continue
                data = os.read(handle, 32768)
                if not data:
                    return
                self.frames.send(bytes([channel]) + data)
        except OSError:
            pass  # a terminal whose last program has ended, or a client that has gone

    def _input(self, process: subprocess.Popen[bytes]) -> None:
        try:
            while (data := self.frames.receive()) is not None:
                self._take(process, data)
        except (OSError, ValueError):
            pass  # the client or the program has gone
        if self.tty:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGHUP)
        elif process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()

    def _take(self, process: subprocess.Popen[bytes], data: bytes) -> None:
        if data[0] == 4:
            size = json.loads(data[1:])
            if self.tty:
                fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", size["Height"], size["Width"], 0, 0))
        elif data[0] == 255 and process.stdin is not None:
            process.stdin.close()
        elif data[0] == 0 and len(data) > 1:
            if self.tty:
                os.write(self.master, data[1:])
            elif process.stdin is not None and not process.stdin.closed:
                _write_all(process.stdin.fileno(), data[1:])

    def _finish(self, status: Json) -> None:
        with contextlib.suppress(OSError):
            self.frames.send(b"\3" + json.dumps({"metadata": {}, **status}).encode())
        self.frames.close()
        if self.master >= 0:
            os.close(self.master)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _outcome(code: int) -> Json:
    if code == 0:
        return {"status": "Success"}
    return {
        "status": "Failure", "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }  # fmt: skip
