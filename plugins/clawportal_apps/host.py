"""The WSGI application at the hosts of claws' pages: lets people in, and passes on what their browsers ask."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, quote, urlsplit

from flask import Flask
from werkzeug.urls import iri_to_uri

from clawportal.sdk import _m
from clawportal.sdk.errors import Forbidden, NotFound, Problem, Unauthenticated, Unavailable
from clawportal.sdk.fleet import Portal
from clawportal.sdk.hosts import asked_from, over, place_for, take_over
from clawportal_apps import answers, heads, ports, proofs, services, shares, upstream
from clawportal_apps.gate import Gate, place_of
from clawportal_apps.heads import Asked, Header, Named
from clawportal_apps.names import App
from clawportal_apps.pump import Pump, Stream
from clawportal_apps.services import ENTER, Admitted
from clawportal_apps.settings import AppSettings
from clawportal_apps.shares import SHARED
from clawportal_apps.upstream import Answer, Unanswered
from clawportal_apps.watch import Request, Watch, shown_by

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

OWN = "/.clawportal/"
"""Paths of the portal at the host of a page; a claw never sees them."""
WAIT, LET_IN = f"{OWN}wait", f"{OWN}let-in"
"""What a browser sees while a page is told of it, and what does that."""
MET_SECONDS = 30 * 24 * 3600
"""So long a browser is believed to have what a page keeps in it."""

log = logging.getLogger(__name__)


def make(app: Flask) -> AppHost:
    portal = cast(Portal, app.extensions["clawportal"])
    made = AppHost(app, portal)
    portal.put(AppHost, made)
    app.extensions["clawportal_apps"] = made
    return made


class AppHost:
    """Everything at these hosts."""

    def __init__(self, app: Flask, portal: Portal) -> None:
        self._app, self._portal = app, portal
        self._settings = portal.section(AppSettings)
        self._names = services.names_of(portal)
        self._numbers = self._settings.port_numbers
        self._at_port: dict[int, App] = {}
        self.gate = Gate(app, self._settings.at_once)
        each = max(self._settings.streams // 10, 8)
        self.pump = Pump(self._settings.streams, each, self._settings.idle_seconds, portal.stopping.is_set)
        self.watch = Watch(self.pump, self.gate.may, portal.stopping)

    def takes(self, environ: dict[str, Any]) -> bool:
        return self._port_of(environ) > 0 or self._names.takes(environ.get("HTTP_HOST", ""))

    def _port_of(self, environ: dict[str, Any]) -> int:
        """The port of the portal's own host at which this came in, if that is one for pages; else 0."""
        number = str(environ.get("SERVER_PORT", ""))
        return int(number) if number.isdigit() and int(number) in self._numbers else 0

    def _app_at(self, asked: Asked) -> App | None:
        if not asked.port:
            return self._names.app_at(asked.host)
        if asked.port not in self._at_port:
            with self._app.app_context():
                found = ports.app_at(asked.port)
            if found is None:
                return None
            self._at_port[asked.port] = found  # for good
        return self._at_port[asked.port]

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        asked = heads.asked_of(environ, self._port_of(environ))
        app = self._app_at(asked)
        try:
            if app is None:
                raise NotFound(_m("There is no page at this address."))
            if asked.target.startswith(OWN):
                return self._own(environ, start_response, asked, app)
            return self._passed_on(environ, start_response, asked, app)
        except Unauthenticated as problem:
            return self._to_portal(environ, start_response, asked, app, problem)
        except Problem as problem:
            return answers.refusal(self._app, environ, start_response, problem, self._home(asked, app))

    def close(self) -> None:
        self.pump.close()

    # ---- coming in

    def _own(self, environ: dict[str, Any], start_response: StartResponse, asked: Asked, app: App) -> Iterable[bytes]:
        parts = urlsplit(asked.target)
        given = {name: values[0] for name, values in parse_qs(parts.query).items()}
        place = _local(given.get("to", "/"))
        if asked.method != "GET" or parts.path not in (ENTER, SHARED, WAIT, LET_IN):
            raise NotFound(_m("There is no page at this address."))
        if parts.path == WAIT:
            return answers.waiting(self._app, environ, start_response, f"{LET_IN}?to={quote(place, safe='')}")
        if parts.path == LET_IN:
            return self._let_in(environ, start_response, asked, app, place)
        with asked_from(self._app, environ) as portal:
            if parts.path == ENTER:
                entered = services.enter(portal, app, given.get("ticket", ""), place_of(environ))
            else:
                home = portal.settings.public_url or self._portal_beside(asked)
                entered = shares.used(portal, app, given.get("link", ""), home)
            cookie = self._cookie(asked, asked.cookie, proofs.cookie_for(portal, entered))
            asks = services.hands_over(portal, entered, place_of(environ))
        # over TLS such a page asks by itself, and a browser that has been here has what it needs
        first = asks and not asked.tls and not heads.has_met(asked)
        return answers.redirect(start_response, f"{WAIT}?to={quote(place, safe='')}" if first else place, [cookie])

    def _let_in(
        self, environ: dict[str, Any], start_response: StartResponse, asked: Asked, app: App, place: str
    ) -> Iterable[bytes]:
        cookie = heads.cookie_of(asked)
        self.gate.check(shown_by(environ, app, cookie))
        admitted = self.gate.admitted(environ, app, cookie)
        try:
            with asked_from(self._app, environ, admitted.actor) as portal:
                fragment = services.fragment_for(portal, admitted, asked.origin)
        except Problem as problem:
            log.warning("a page of a claw is opened without what lets it in: %s", problem.detail)
            return answers.redirect(start_response, place)
        met = self._cookie(asked, asked.met, "1", f"; Max-Age={MET_SECONDS}")
        return answers.redirect(start_response, f"{place}#{fragment}" if fragment else place, [met])

    def _cookie(self, asked: Asked, name: str, value: str, life: str = "") -> str:
        return f"{name}={value}; Path=/; HttpOnly; SameSite=Lax{life}{'; Secure' if asked.tls else ''}"

    def _home(self, asked: Asked, app: App | None) -> str:
        """The page of the portal that leads here, if this browser came from a portal that it still knows."""
        with self._app.app_context():
            given = proofs.read_cookie(self._portal, heads.cookie_of(asked))
        home = given.home if given else self._portal.settings.public_url or self._portal_beside(asked)
        return f"{home.rstrip('/')}/instances/{app.instance_id}/apps/{app.port}" if app and home else ""

    def _portal_beside(self, asked: Asked) -> str:
        """Where the portal is that a browser asks without a domain: the host without the name of the page, or at its port."""
        name, _, port = asked.host.rpartition(":") if ":" in asked.host else (asked.host, "", "")
        if asked.port:
            return f"{asked.origin.partition(':')[0]}://{name}:{self._portal.settings.port}"
        return f"{asked.origin.partition(':')[0]}://localhost{f':{port}' if port else ''}" if ".localhost" in asked.host else ""

    def _to_portal(
        self, environ: dict[str, Any], start_response: StartResponse, asked: Asked, app: App | None, problem: Problem
    ) -> Iterable[bytes]:
        """Whoever goes to the page goes by the portal, which knows who they are; everything else is refused."""
        home = self._home(asked, app)
        goes = asked.method == "GET" and "text/html" in asked.get("accept") and asked.get("sec-fetch-mode") in ("", "navigate")
        if home and goes and not asked.upgrades and not asked.target.startswith(OWN):
            return answers.redirect(start_response, f"{home}?to={quote(_local(asked.target), safe='')}")
        return answers.refusal(self._app, environ, start_response, problem, home)

    # ---- passing on

    def _passed_on(self, environ: dict[str, Any], start_response: StartResponse, asked: Asked, app: App) -> Iterable[bytes]:
        if asked.method in heads.METHODS_REFUSED:
            raise Forbidden(_m("Requests of this kind are not passed on to claws."))
        if heads.comes_from_elsewhere(asked):
            raise Forbidden(_m("This request came from another site and was refused."))
        cookie = heads.cookie_of(asked)
        admitted = self.gate.admitted(environ, app, cookie)
        leave = place_for(self._app, environ, admitted.actor)
        request = self.watch.begin(shown_by(environ, app, cookie))
        turn = self.gate.turn(admitted.person)
        try:
            turn.__enter__()
        except BaseException:
            self.watch.over(request)
            leave()
            raise

        def done() -> None:
            turn.__exit__(None, None, None)
            self.watch.over(request)
            leave()

        try:
            return self._answered(environ, start_response, asked, admitted, request, done)
        except BaseException:
            done()
            raise

    def _answered(
        self, environ: dict[str, Any], start_response: StartResponse, asked: Asked, admitted: Admitted, request: Request,
        done: Callable[[], None],
    ) -> Iterable[bytes]:  # fmt: skip
        if (path := asked.target.partition("?")[0]) in admitted.way.handover:
            self.gate.check(request.shown)  # what is handed over lasts longer than what is believed of people
            return self._handed_over(environ, start_response, admitted, path, done)
        named = _named(admitted, path)
        try:
            answer = self._ask(environ, asked, admitted, named, request)
        except Unanswered as error:
            self.gate.forget(admitted.app)
            raise _told(error, admitted) from error
        if answer.status == 101 and not (asked.upgrades and answer.get("upgrade").strip().lower() == heads.WEBSOCKET):
            answer.line.close()
            raise _told(Unanswered(502, "the claw changes to a protocol that nobody asked for"), admitted)
        headers = list(heads.to_browser(asked, named, answer.headers))
        length = None if answer.status == 101 else answer.length(asked.method)
        if length is not None:
            told = [(name, value) for name, value in headers if name != "Content-Length"]
            if asked.method == "HEAD" or answer.status == 304:
                told = headers
            elif answer.status != 204:
                told.append(("Content-Length", str(length)))
            start_response(f"{answer.status} {heads.phrase_of(answer.status)}", told)
            return _Body(answer, length, self._settings.idle_seconds, done)
        self._hand_over(environ, asked, admitted, request, answer, headers)
        raise over(environ)

    def _handed_over(
        self, environ: dict[str, Any], start_response: StartResponse, admitted: Admitted, path: str, done: Callable[[], None]
    ) -> Iterable[bytes]:
        with asked_from(self._app, environ, admitted.actor) as portal:
            told = services.handed_over(portal, admitted, path)
        kind = ("Content-Type", "application/json")
        headers = [
            kind,
            ("Content-Length", str(len(told.body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        start_response(f"{told.status} {heads.phrase_of(told.status)}", headers)
        done()
        return [told.body]

    def _ask(self, environ: dict[str, Any], asked: Asked, admitted: Admitted, named: Named, request: Request) -> Answer:
        line = request.line = upstream.connect(admitted.way.address)
        version = "HTTP/1.0" if asked.version == "HTTP/1.0" else "HTTP/1.1"
        first = f"{asked.method} {asked.target} {version}"
        try:
            body = upstream.body_of(environ)
            return upstream.ask(line, first, heads.to_claw(asked, named), body, self._settings.first_byte_seconds)
        except BaseException:
            line.close()
            raise

    def _hand_over(
        self, environ: dict[str, Any], asked: Asked, admitted: Admitted, request: Request, answer: Answer, headers: list[Header]
    ) -> None:
        """What lasts goes on without a thread."""
        owner = admitted.person
        if not self.pump.room(owner):
            answer.line.close()
            raise Unavailable(_m("Too many pages of claws are open. Close some, then try again."), headers={"Retry-After": "15"})
        browser = take_over(environ)
        if browser is None:
            answer.line.close()
            raise Unavailable(_m("This server cannot pass on what has no end."))
        head = _head_of(answer, headers)
        stream = Stream(browser, answer.line, owner, request.shown, both_ways=answer.status == 101)
        self.pump.add(stream, head + answer.begun)


class _Body:
    """The body of an answer whose length is known; the server closes it in every case."""

    def __init__(self, answer: Answer, length: int, idle: float, done: Callable[[], None]) -> None:
        self._answer, self._done = answer, done
        self._pieces = answer.body(length, idle) if length else iter(())

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except Unanswered as error:
            # the head is out: only a broken connection tells that something is missing
            raise ConnectionResetError(errno.ECONNRESET, str(error)) from error

    def close(self) -> None:
        done, self._done = self._done, _nothing
        with suppress(OSError):
            self._answer.line.close()
        done()


def _nothing() -> None:
    pass


def _named(admitted: Admitted, path: str) -> Named:
    way, spec = admitted.way, admitted.way.spec
    proof = spec.proof if spec.proof and path.startswith(spec.proof.paths) else None
    shown = (proof.header.lower(), f"{proof.prefix}{way.secret}") if proof and way.secret else None
    return Named(f"127.0.0.1:{way.number}", shown, spec.named == "public")


def _told(error: Unanswered, admitted: Admitted) -> Problem:
    problem = Unavailable(_m("The page of %(name)s does not answer: %(error)s.", name=admitted.name, error=error))
    problem.status = error.status
    return problem


def _head_of(answer: Answer, headers: list[Header]) -> bytes:
    """For the browser, written here since the server no longer has the connection."""
    lines = [f"HTTP/1.1 {answer.status} {heads.phrase_of(answer.status)}"]
    lines += [f"{name}: {value}" for name, value in headers if name != "Content-Length"]
    if answer.status == 101:
        lines += [f"Upgrade: {heads.WEBSOCKET}", "Connection: Upgrade"]
    else:
        lines.append("Connection: close")
        if answer.get("transfer-encoding"):
            lines.append("Transfer-Encoding: chunked")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _local(target: str) -> str:
    """Only a path of this host, never another one: browsers pass over tabs and line ends, and take \\ for a slash."""
    odd = "\\" in target or any(ord(letter) <= 32 or ord(letter) == 127 for letter in target)
    return iri_to_uri(target) if target.startswith("/") and not target.startswith(("//", OWN)) and not odd else "/"
