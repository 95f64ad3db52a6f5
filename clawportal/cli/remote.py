"""The way from the `claw` command to a portal: where it is, who one is there, requests, and errors as words and exit codes."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from clawportal import sse

if TYPE_CHECKING:
    import httpx

FAILED, NOT_FOUND, NOT_PERMITTED, UNREACHABLE, REFUSED = 1, 3, 4, 5, 6
_CODES = {401: NOT_PERMITTED, 403: NOT_PERMITTED, 404: NOT_FOUND}
DEFAULT_URL = "http://127.0.0.1:8800"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Failure(click.ClickException):
    """Something that ends the command: words for people, and an exit code that means something."""

    def __init__(
        self, message: str, exit_code: int = FAILED, details: tuple[str, ...] = (), status: int = 0, code: str = ""
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it from the object, and names it a class variable
        self.details = details
        self.status = status
        self.code = code
        """The portal's word for it, such as `otp_required`."""
        self.retry_after = 0.0
        """Seconds after which the portal wants to be asked again; 0 where it did not say so."""

    def show(self, file: Any = None) -> None:
        click.echo(f"Error: {clean(self.message)}", err=True)
        for line in self.details:
            click.echo(f"  {clean(line)}", err=True)


def clean(text: str, *, colours: bool = False) -> str:
    """Text of others without what could steer a terminal; line ends and tabs stay, colours if wanted."""
    import re

    pattern = r"\x1b(?!\[[0-9;]*m)" if colours else r"\x1b(?:\[[0-9;?]*[ -/]*[@-~])?"
    text = re.sub(pattern, "", text)
    return "".join(letter for letter in text if (letter >= " " and not "\x7f" <= letter <= "\x9f") or letter in "\n\t\x1b")


# ---- where and who


@dataclass(frozen=True)
class Account:
    """What `claw login` keeps: never a password."""

    url: str
    token: str
    name: str = ""


def config_file() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "claw" / "config.json"


def stored() -> Account | None:
    try:
        known = json.loads(config_file().read_text(encoding="utf-8"))
        return Account(str(known["url"]), str(known["token"]), str(known.get("name", "")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Failure(f"{config_file()} cannot be read: {error!r}. Sign in again with `claw login`.", NOT_PERMITTED) from error


def store(account: Account) -> Path:
    """Written whole or not at all, readable by its owner only."""
    file = config_file()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, scratch = tempfile.mkstemp(dir=file.parent, prefix=".config-")  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(asdict(account), stream, indent=1)
        os.replace(scratch, file)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    return file


def forget() -> None:
    config_file().unlink(missing_ok=True)


def checked_url(url: str) -> str:
    parts = urlsplit(url if "//" in url else f"http://{url}")
    try:
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        raise click.UsageError(f"{url!r} is not the address of a portal; write for example {DEFAULT_URL}")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def account(url: str | None) -> Account:
    """From the environment, else from the file. A stored token is never sent to another portal than the one it is for."""
    url = url or os.environ.get("CLAW_URL")
    token = os.environ.get("CLAW_TOKEN", "")
    kept = None if url and token else stored()
    wanted = checked_url(url) if url else kept.url if kept else DEFAULT_URL
    if token:
        return Account(wanted, token)
    if kept is None or kept.url != wanted:
        raise Failure(f"You are not signed in to {wanted}. Use `claw login --url {wanted}`, or set CLAW_TOKEN.", NOT_PERMITTED)
    return kept


def is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in LOOPBACK


# ---- requests


def signed_in() -> Remote:
    """The portal of the present command, as whom its options or `claw login` say."""
    return Remote(account(click.get_current_context().find_root().obj))


class Remote:
    """One portal, asked as one account."""

    def __init__(self, account: Account, timeout: float = 30.0) -> None:
        import httpx

        headers = {"Accept": "application/json", "User-Agent": "claw"}
        if account.token:
            headers["Authorization"] = f"Bearer {account.token}"
        self.url = account.url
        self.headers = headers
        """What every request carries; a WebSocket, too."""
        # a proxy that the environment names is for the outside
        outside = not is_loopback(account.url)
        try:
            self._client = httpx.Client(base_url=f"{account.url}/api/v1", headers=headers, timeout=timeout, trust_env=outside)
        except (ValueError, httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Failure(f"The portal's address or the proxy settings cannot be used: {error}.", UNREACHABLE) from error

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The document that the portal answers with, None for none. Failure for everything else."""
        answer = self.answer(method, path, body=body, query=query, headers=headers)
        return answer.json() if answer.content else None

    def answer(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        with self._reaching():
            answer = self._client.request(method, path, json=body, params=_present(query), headers=headers)
            _refuse(answer)
            if answer.content:
                _warn(_document(answer))
            return answer

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[Iterator[tuple[str, str, Any]]]:
        """Server-sent events as (name, id, data). Silence is normal; the portal sends a comment every few seconds."""
        import httpx

        asked = {"Accept": "text/event-stream, application/json;q=0.5", **(headers or {})}
        timeout = httpx.Timeout(30.0, read=60.0)
        with self._reaching(), self._client.stream(
            method, path, json=body, params=_present(query), headers=asked, timeout=timeout
        ) as answer:  # fmt: skip
            if answer.status_code >= 400:
                answer.read()
                _refuse(answer)
            yield _events(answer.iter_bytes())

    @contextmanager
    def download(self, path: str, *, query: Mapping[str, Any]) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Content type and pieces of an answer that may be of any size. Failure when it breaks off."""
        import httpx

        timeout = httpx.Timeout(30.0, read=300.0)
        with self._reaching(), self._client.stream("GET", path, params=_present(query), timeout=timeout) as answer:
            if answer.status_code >= 400:
                answer.read()
            _refuse(answer)
            yield answer.headers.get("Content-Type", "").partition(";")[0], answer.iter_raw(256 * 1024)

    def upload(self, path: str, stream: Any, size: int, *, query: Mapping[str, Any]) -> Any:
        """Send a file piece by piece."""
        import httpx

        pieces = iter(lambda: stream.read(256 * 1024), b"")
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        with self._reaching():
            timeout = httpx.Timeout(30.0, read=600.0, write=600.0)
            answer = self._client.put(path, content=pieces, params=_present(query), headers=headers, timeout=timeout)
            _refuse(answer)
            return answer.json()

    def send(self, method: str, path: str, content: bytes = b"", *, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Bytes as they are, such as a part of a file; the headers of the answer."""
        import httpx

        timeout = httpx.Timeout(30.0, read=600.0, write=600.0)
        with self._reaching():
            answer = self._client.request(method, path, content=content, headers=headers, timeout=timeout)
            _refuse(answer)
            return answer.headers

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Failure(f"The portal at {self.url} cannot be reached: {error or type(error).__name__}.", UNREACHABLE) from error

    # ---- things that many commands need

    def everything(self, path: str, query: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """All pages of a list. A portal of an older release gives no cursor; there it is walked by offset."""
        asked: dict[str, Any] = {**(query or {}), "limit": 200}
        found: list[dict[str, Any]] = []
        while True:
            page = self.call("GET", path, query=asked)
            found += page["items"]
            more = page["next"] if "next" in page else page["items"] and len(found) < page["total"]
            if not more:
                return found
            asked |= {"cursor": more} if "next" in page else {"offset": len(found)}

    def find(self, name: str) -> dict[str, Any]:
        """The whole document of an instance by name or id."""
        page = self.call("GET", "/instances", query={"name": name, "limit": 2})
        if not page["items"]:
            raise Failure(f"There is no instance {name!r}, or it is not yours. `claw list` shows all.", NOT_FOUND)
        if len(page["items"]) > 1:
            raise Failure(f"Several instances are named {name!r}; use the id, which `claw list -o wide` shows.", REFUSED)
        return self.get(page["items"][0]["id"])

    def get(self, instance_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/instances/{instance_id}")
        return found

    def settled(self, instance: Mapping[str, Any], timeout: float, tell: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
        """Wait until what is wanted has come about or failed. `tell` hears of every change on the way."""
        end, pause, told = time.monotonic() + timeout, 0.2, ""
        while True:
            found = self.get(str(instance["id"]))
            words = f"{found['phase']} {found['message']}"
            if words != told:
                told = words
                tell(found)
            if is_settled(found, int(instance["generation"])):
                return found
            if time.monotonic() > end:
                raise Failure(f"{found['name']} is still {found['phase']} after {timeout:.0f} s: {found['message']}")
            time.sleep(pause)
            pause = min(pause * 1.3, 2.0)


_GOALS = {"running": ("running",), "stopped": ("stopped",), "deleted": ("destroyed",)}


def is_settled(instance: Mapping[str, Any], generation: int) -> bool:
    """Whether `generation` of what is wanted has come about, or has failed."""
    if instance["phase"] == "destroyed":
        return True
    if int(instance["observed_generation"]) < max(generation, int(instance["generation"])):
        return False
    return instance["phase"] == "failed" or instance["phase"] in _GOALS[str(instance["desired"])]


def is_bad(instance: Mapping[str, Any]) -> bool:
    """Whether somebody has to do something about it."""
    return instance["phase"] == "failed" or instance["health"] in ("unhealthy", "degraded") or instance["sync"] == "out-of-sync"


def _present(query: Mapping[str, Any] | None) -> dict[str, Any]:
    """Without what was not given; true and false as the API spells them."""
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in (query or {}).items()
        if value not in (None, "", (), [], False)
    }


def _refuse(answer: httpx.Response) -> None:
    if answer.status_code < 400:
        if answer.is_redirect:
            raise Failure(f"{answer.url} answers with a redirect; is this the address of the portal itself?", UNREACHABLE)
        return
    problem = _document(answer)
    detail = str(problem.get("detail") or problem.get("title") or f"The portal answered {answer.status_code}.")
    errors = [error for error in problem.get("errors", []) if isinstance(error, Mapping)]
    details = tuple(f"{error.get('path') or 'document'}: {error.get('message')}" for error in errors)
    if details and answer.status_code == 422:
        detail = str(problem.get("title") or detail)
    code = _CODES.get(answer.status_code, FAILED if answer.status_code >= 500 else REFUSED)
    failure = Failure(detail, code, details, answer.status_code, str(problem.get("code", "")))
    again = answer.headers.get("Retry-After", "")
    failure.retry_after = float(again) if again.isascii() and again.isdigit() else 0.0
    raise failure


def _warn(document: Mapping[str, Any]) -> None:
    """What rules in warning mode said to a change that went through."""
    for warning in document.get("warnings") or ():
        if isinstance(warning, Mapping) and warning.get("sentence"):
            click.echo(f"Warning: {clean(str(warning['sentence']))}", err=True)


def _document(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, Mapping):
        raise Failure(f"{answer.url} answered {answer.status_code} with something that is not from a portal.", UNREACHABLE)
    return found


def _events(pieces: Iterator[bytes]) -> Iterator[tuple[str, str, Any]]:
    for event in sse.events(pieces):
        yield event.name, event.id, json.loads(event.data)
