"""Talks to one API server in raw JSON over the official client's configuration, authentication and connection pool.

Typed objects cost ten times as much as dicts, and the client's API classes a second and tens of megabytes at the first use.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import urllib3

from clawportal.sdk import _m, _n, bounded, certificates, pasted
from clawportal.sdk.errors import GiveUp, Retry, Unavailable
from clawportal_kubernetes import names, transport

if TYPE_CHECKING:
    from websocket import WebSocket

    from clawportal_kubernetes.settings import KubernetesSettings

Json = dict[str, Any]

_POOL = 32
_whole: Callable[[bytes], Json] = bounded.parse_json
LARGEST = 128 * bounded.MIB
"""Of one answer: five hundred of the largest objects that a cluster keeps."""
REFUSAL_SECONDS = 5.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_REASON = re.compile(r'"([^"]+)" is forbidden: (.*)', re.DOTALL)


class ApiError(Exception):
    """The API server's own refusal."""

    def __init__(self, status: int, reason: str, message: str, document: Json | None = None) -> None:
        super().__init__(message or reason)
        self.status, self.reason, self.message, self.document = status, reason, message, document or {}

    @property
    def retry_after(self) -> int | None:
        return (self.document.get("details") or {}).get("retryAfterSeconds")


def verdict(error: ApiError, who: str) -> Exception:
    """What a refusal means for the work at hand: what may heal is tried again, what cannot is given up with a remedy."""
    words = error.message
    if error.status == 401:
        return GiveUp(
            _n("CredentialsRefused"),
            _m("The cluster does not accept the portal's credentials; they may have expired or been withdrawn."),
            _m("Enter a new kubeconfig for the cluster."),
        )
    if error.status == 403:
        return _forbidden(words, who)
    if error.status in (400, 422):
        return GiveUp(
            _n("RefusedByCluster"),
            _m("The cluster refuses %(who)s: %(words)s", who=who, words=words),
            _m("Correct what it names, then start it again."),
        )
    if error.status == 409:
        return Retry(_n("Conflict"), f"{who}: {words}", timedelta(seconds=1))
    if error.status == 429 or error.status >= 500:
        wait = timedelta(seconds=error.retry_after) if error.retry_after else None
        return Retry(_n("ClusterBusy"), _m("The cluster cannot do this right now: %(words)s", words=words), wait)
    if error.status == 404:
        return Retry(_n("Gone"), f"{who}: {words}", timedelta(seconds=1))
    return GiveUp(_n("RefusedByCluster"), _m("The cluster refuses %(who)s: %(words)s", who=who, words=words))


def _forbidden(words: str, who: str) -> Exception:
    found = _REASON.search(words)
    told = found[2] if found else words
    if "being terminated" in words:
        return Retry(
            _n("NamespaceEnding"),
            _m("The namespace of %(who)s is being deleted; it is made again then.", who=who),
            timedelta(seconds=3),
        )
    if "exceeded quota" in words:
        return Retry(
            _n("QuotaExceeded"), _m("The namespace's quota is full: %(told)s. Stop another instance or ask for more.", told=told)
        )
    if "violates PodSecurity" in words:
        return GiveUp(
            _n("PodSecurityRefused"), _m("The cluster's pod security refuses it: %(told)s", told=told),
            _m("Set the cluster's pod security to what the claw needs, or use an image that runs without root."),
        )  # fmt: skip
    if "cannot " in words:
        return GiveUp(
            _n("RightsMissing"), _m("The portal may not do this in the cluster: %(told)s", told=told),
            _m("Apply deploy/kubernetes/rbac.yaml, and look at the cluster's connection test."),
        )  # fmt: skip
    return GiveUp(
        _n("RefusedByCluster"),
        _m("The cluster refuses %(who)s: %(told)s", who=who, told=told),
        _m("Ask who runs the cluster about this rule."),
    )


class Api:
    """One connection pool. Used by many threads at once. Nothing of it is shared with another connection."""

    def __init__(self, settings: KubernetesSettings) -> None:
        self.timeout = settings.request_timeout
        self.in_cluster = settings.access is None
        self._settings = settings
        self._lock = threading.Lock()
        self._config: Any = None
        self._pool: Any = None
        self._tls: ssl.SSLContext | None = None
        self._proxy: transport.Proxy | None = None
        self._access = settings.access

    # ---- connecting

    def _connect(self) -> Any:
        """The client is imported here, by the first call."""
        with self._lock:
            if self._pool is None:
                try:
                    from kubernetes.client.configuration import Configuration
                except ImportError as error:
                    raise Unavailable(
                        _m("The client of Kubernetes is missing. It belongs to the portal: install that again, and restart it.")
                    ) from error

                config = Configuration()
                self._load(config)
                config.connection_pool_maxsize = _POOL
                config.keep_alive = True
                try:
                    self._proxy = self._way_out(config)
                    self._tls = self._context(config)
                except ValueError as error:
                    raise Unavailable(_m("The kubeconfig cannot be used: %(error)s", error=error)) from error
                self._config = config
                self._pool = transport.pool(config, self._proxy, self._tls)
            return self._pool

    def _load(self, config: Any) -> None:
        from kubernetes.config.config_exception import ConfigException
        from kubernetes.config.incluster_config import InClusterConfigLoader
        from kubernetes.config.kube_config import KubeConfigLoader

        try:
            if self._access is not None:
                KubeConfigLoader(self._access.document, self._settings.context or None).load_and_set(config)
            else:
                InClusterConfigLoader(f"{_SERVICE_ACCOUNT}/token", f"{_SERVICE_ACCOUNT}/ca.crt").load_and_set(config)
        except (ConfigException, OSError, ValueError) as error:
            words = (
                _m("The kubeconfig cannot be used: %(error)s", error=error)
                if self._access is not None
                else "There is no kubeconfig, and the portal does not run in a cluster"
            )
            raise Unavailable(_m("%(words)s. Enter a complete kubeconfig for the cluster.", words=words)) from error

    def _way_out(self, config: Any) -> transport.Proxy | None:
        """The proxy of the kubeconfig or the environment; none to this machine's own loopback, which it could not reach."""
        if urlsplit(config.host).hostname in _LOOPBACK or transport.bypassed(config.host, config.no_proxy or ""):
            return None
        return transport.proxy_of(config.proxy)

    def _context(self, config: Any) -> ssl.SSLContext:
        if self._access is not None:
            access = self._access
            return certificates.context(access.ca, access.certificate, access.key, verify=bool(config.verify_ssl))
        with open(config.ssl_ca_cert, encoding="ascii") as file:
            return certificates.context(file.read())

    def headers(self) -> dict[str, str]:
        told = {"Accept": "application/json", "User-Agent": "clawportal"}
        token = self._config.get_api_key_with_prefix("BearerToken")  # also reads a renewed token
        if token:
            if flaw := pasted.flaw_in_header(token.strip()):
                raise Unavailable(_m("The token of the kubeconfig %(flaw)s.", flaw=flaw))
            told["authorization"] = token if token.lower().startswith(("bearer ", "basic ")) else f"Bearer {token}"
        elif self._config.username:
            told["authorization"] = self._config.get_basic_auth_token()
        return told

    @property
    def host(self) -> str:
        self._connect()
        return str(self._config.host).rstrip("/")

    def close(self) -> None:
        with self._lock:
            if self._pool is not None:
                self._pool.clear()

    # ---- requests

    def request(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None, kind: str = "application/json",
        timeout: float | urllib3.Timeout | None = None, stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:  # fmt: skip
        """The answer with its status checked. ApiError for a refusal, Unavailable when nobody answers."""
        pool = self._connect()
        url = f"{self.host}{path}" + (f"?{urlencode(query, doseq=True)}" if query else "")
        headers = self.headers()
        data = None
        if body is not None:
            # not escaped: the server reads an apply as YAML, which has no pairs of surrogates
            data, headers["Content-Type"] = json.dumps(body, ensure_ascii=False).encode(), kind
        retries = urllib3.Retry(2, connect=1, read=1, redirect=0, status=0, backoff_factor=0.2) if method == "GET" else False
        try:
            answer: urllib3.BaseHTTPResponse = pool.request(
                method, url, headers=headers, body=data, preload_content=False, retries=retries,
                timeout=timeout or urllib3.Timeout(connect=min(self.timeout, 10.0), read=self.timeout),
            )  # fmt: skip
            if answer.status == 407 and self._proxy is not None:  # of a proxy in plain HTTP, which has no tunnel
                raise transport.ProxyRefused(407)
            if answer.status >= 400:
                raise _refusal(answer)
            if not stream:
                _body(answer, self.timeout)
            return answer
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(
                _m("The cluster does not answer: %(explain_failure)s", explain_failure=explain_failure(error))
            ) from error

    def json(self, method: str, path: str, **more: Any) -> Json:
        found: Json = _whole(self.request(method, path, **more).data)
        return found

    def get(self, path: str, **query: Any) -> Json:
        return self.json("GET", path, query=query)

    def find(self, path: str) -> Json | None:
        """None where there is no such object."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def apply(self, path: str, body: Json, *, force: bool = True) -> Json:
        """Server-side apply with the portal's field manager."""
        query = {"fieldManager": names.MANAGER, "force": "true" if force else "false", "fieldValidation": "Strict"}
        return self.json("PATCH", path, query=query, body=body, kind="application/apply-patch+yaml")

    def create(self, path: str, body: Json) -> Json:
        """ApiError 409 where there is one of that name."""
        return self.json("POST", path, query={"fieldManager": names.MANAGER, "fieldValidation": "Strict"}, body=body)

    def merge(self, path: str, body: Json) -> Json | None:
        try:
            return self.json("PATCH", path, query={"fieldManager": names.MANAGER}, body=body, kind="application/merge-patch+json")
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def delete(self, path: str, *, grace: int | None = None, uid: str = "") -> Json | None:
        """None where there was nothing, or something else by then."""
        body: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            return self.json("DELETE", path, body=body)
        except ApiError as error:
            if error.status == 404 or (error.status == 409 and uid):
                return None
            raise

    def pages(self, path: str, *, limit: int = 500, read: Callable[[bytes], Json] = _whole, **query: Any) -> Iterator[Json]:
        """A list, page by page: ten thousand objects are never one document in memory. ApiError 410 for a late page.

        `read` makes an object of a page, out of as much of it as the caller wants.
        """
        ahead: dict[str, Any] = {**query, "limit": limit}
        while True:
            page = read(self.request("GET", path, query=ahead).data)
            yield page
            token = page["metadata"].get("continue")
            if not token:
                return
            ahead = {**ahead, "continue": token}

    def items(self, path: str, **query: Any) -> list[Json]:
        return [item for page in self.pages(path, **query) for item in page["items"]]

    def open_watch(self, path: str, *, seconds: int, read_timeout: float, **query: Any) -> urllib3.BaseHTTPResponse:
        query |= {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": seconds}
        limit = urllib3.Timeout(connect=min(self.timeout, 10.0), read=read_timeout)
        return self.request("GET", path, query=query, stream=True, timeout=limit)

    # ---- streams

    def websocket(self, path: str, query: Any, protocol: str) -> WebSocket:
        """Open the way to a pod. ApiError or Unavailable, as `request`."""
        from websocket import WebSocket, WebSocketBadStatusException, WebSocketException

        server = self.host
        assert self._tls is not None
        headers = {**self.headers(), "sec-websocket-protocol": protocol}
        chosen = [f"{name}: {headers[name]}" for name in ("authorization", "sec-websocket-protocol") if name in headers]
        try:
            way = transport.dial(server, self._proxy, self._tls, self._config.tls_server_name or "")
        except OSError as error:
            raise Unavailable(
                _m("The cluster does not answer: %(explain_failure)s", explain_failure=explain_failure(error))
            ) from error
        found = WebSocket()
        try:
            found.connect(f"{server.replace('http', 'ws', 1)}{path}?{urlencode(query, doseq=True)}", header=chosen, socket=way)
            found.settimeout(None)
            return found
        except WebSocketBadStatusException as error:
            way.close()
            raise _status_error(error.status_code, error.resp_body or b"") from error
        except (WebSocketException, OSError) as error:
            way.close()
            raise Unavailable(
                _m("The cluster does not answer: %(explain_failure)s", explain_failure=explain_failure(error))
            ) from error

    def credentials_end(self) -> datetime | None:
        """When the client certificate of the kubeconfig expires; None without one."""
        if self._access is None or not self._access.certificate:
            return None
        from cryptography import x509

        return x509.load_pem_x509_certificate(self._access.certificate.encode()).not_valid_after_utc

    def own_namespace(self) -> str:
        """Of the portal itself, where it runs in the cluster."""
        try:
            with open(f"{_SERVICE_ACCOUNT}/namespace", encoding="ascii") as file:
                return file.read().strip()
        except OSError:
            return ""


def _refusal(answer: urllib3.BaseHTTPResponse) -> ApiError:
    return _status_error(answer.status, _body(answer, REFUSAL_SECONDS, most=bounded.MIB))


def _body(answer: urllib3.BaseHTTPResponse, seconds: float, *, most: int = LARGEST) -> bytes:
    """The whole body: an answer that is endless or dripped is none. Afterwards it also is `answer.data`."""
    budget, pieces = bounded.Budget(max(seconds, 1.0) * 4, most), []
    try:
        while piece := answer.read1(65536, decode_content=True):  # `stream` waits for whole pieces, which may drip
            budget.wait()
            budget.took(len(piece))
            pieces.append(piece)
    except BaseException:
        answer.close()
        raise
    answer.release_conn()
    answer._body = b"".join(pieces)  # type: ignore[attr-defined]  # where urllib3 keeps what `data` answers
    return b"".join(pieces)


def _status_error(status: int, body: bytes) -> ApiError:
    try:
        found = bounded.parse_json(body)
    except ValueError:
        found = {}
    if not isinstance(found, dict):
        found = {}
    words = found.get("message") or body[:300].decode(errors="replace").strip() or _m("status %(status)s", status=status)
    return ApiError(status, found.get("reason") or "", words, found)


def explain_failure(error: BaseException) -> str:
    """What is wrong with the way to the server, in words."""
    text, inner = str(error), getattr(error, "reason", None)
    if told := transport.refusal(text):
        return told
    if "Unable to connect to proxy" in text:
        return _m("its proxy does not answer. Correct HTTPS_PROXY of the portal or proxy-url in the kubeconfig")
    if isinstance(inner, BaseException) and inner is not error:
        return explain_failure(inner)
    if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in text:
        return _m("its certificate is not trusted (%(text)s). Put the cluster's CA into the kubeconfig", text=text)
    if "Name or service not known" in text or "resolve" in text or "nodename nor servname" in text:
        return _m("its name cannot be resolved. Correct the server address in the kubeconfig")
    if "refused" in text:
        return _m("nobody listens at its address. Correct the server address in the kubeconfig, or start the API server")
    if isinstance(error, (TimeoutError, urllib3.exceptions.TimeoutError)) or "timed out" in text:
        return _m("no answer in time. Look at the network between the portal and the API server")
    return text or repr(error)


def parse_time(text: str | None) -> datetime | None:
    """A time as Kubernetes writes it, also with nanoseconds."""
    if not text:
        return None
    whole, dot, rest = text.rstrip("Z").partition(".")
    if not dot:
        return datetime.fromisoformat(whole + ("" if "+" in whole else "+00:00"))
    digits = re.match(r"\d+", rest)
    fraction = (digits[0] if digits else "0")[:6].ljust(6, "0")
    zone = rest[len(digits[0]) if digits else 0 :] or "+00:00"
    return datetime.fromisoformat(f"{whole}.{fraction}{zone}").astimezone(UTC)


def segment(name: str) -> str:
    return quote(name, safe="")
