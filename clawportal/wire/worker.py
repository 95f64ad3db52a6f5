"""The worker behind gunicorn's master: its loop keeps every connection until there is something for a thread to do.

Of gunicorn's threaded worker it uses the thread pool and what answers one request. All that waits for the other side of a
connection waits here, without a thread and with a deadline: the head of a request, a small body, the next request, the other
side's goodbye. Large bodies and readers who take little need a thread; of these there are few, and fewer for each address.
"""

from __future__ import annotations

import contextlib
import errno
import json
import resource
import selectors
import socket
import sys
import time
from collections.abc import Iterable
from concurrent import futures
from functools import partial
from typing import Any

from gunicorn import http
from gunicorn.workers.gthread import ThreadWorker

from clawportal import client_addresses
from clawportal.wire.arriving import MAX_HEAD, head_of, whole
from clawportal.wire.caller import Caller, Waiting, Waits
from clawportal.wire.connection import Connection, Stalled
from clawportal.wire.places import Places
from clawportal.wire.turns import Turns

SMALL_BODY = 256 * 1024
"""A body of so many bytes is collected here; for a larger one a thread waits."""
HELD_BYTES, HELD_EACH = 64 * 1024 * 1024, 16 * 1024 * 1024
"""Of requests that are still arriving, for all and for one address."""
SLOW, SLOW_EACH = 96, 32
"""Threads for large bodies and for readers who take little."""
AT_ONCE = 64
"""New connections that are taken before others are looked at again."""
PIECE = 64 * 1024
DRAIN_BYTES = 1024 * 1024
RETRY_AFTER = 5
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
NOTHING_YET = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED, errno.EINTR)


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """One process; see above."""

    hops = 0
    """How many proxies in front are believed; set before the worker is made."""
    lasting = 600
    """Threads that answers which last may take beside the ordinary ones."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.max_keepalived = sys.maxsize
        self.room = _room()
        self.waiting = Waiting()
        self.turns: Turns[Caller] = Turns()
        self.ordinary = Places(self.cfg.threads, max(self.cfg.threads * 3 // 4, 1))
        self.slow = Places(SLOW, SLOW_EACH)
        self.held = Places(HELD_BYTES, HELD_EACH)

    def get_thread_pool(self) -> futures.ThreadPoolExecutor:
        return futures.ThreadPoolExecutor(self.cfg.threads + self.lasting + SLOW, thread_name_prefix="request")

    def listen_also(self, host: str, ports: Iterable[int]) -> None:
        """Before the loop begins: more ports on an address that is listened on already."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        for port in ports:
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host.strip("[]"), port))
            except OSError as error:
                listener.close()
                self.log.error("port %s cannot be listened on: %s", port, error.strerror)
                continue
            listener.listen(self.cfg.backlog)
            listener.setblocking(False)
            self.sockets.append(listener)

    # ---- the loop

    def run(self) -> None:
        self.poller.register(self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks)
        self.set_accept_enabled(True)
        while self.alive:
            self._turn()
            if not self.is_parent_alive():
                break
        self._finish()

    def _turn(self, seconds: float = 1.0) -> None:
        self.notify()
        for key, _ in self.poller.select(seconds):
            try:
                key.data(key.fileobj)
            except Exception:  # one connection must not end all of them
                self.log.exception("a connection could not be looked after")
        for caller in self.waiting.over(time.monotonic()):
            self._too_late(caller)

    def _finish(self) -> None:
        """No new connections; what is being answered has a few seconds, and a request that was just sent is answered."""
        self.set_accept_enabled(False)
        end = time.monotonic() + self.cfg.graceful_timeout
        self.waiting.hurry(Waits.REQUEST, time.monotonic() + 0.5)
        while self.nr_conns > 0 and time.monotonic() < end:
            self._turn(0.1)
        self.tpool.shutdown(wait=False)
        self.poller.close()
        self.method_queue.close()
        for listener in self.sockets:
            listener.close()

    # ---- connections come

    def accept(self, listener: socket.socket) -> None:
        for _ in range(AT_ONCE):
            if self.nr_conns >= self.room and not self._make_room():
                return
            try:
                accepted, client = listener.accept()
            except OSError as error:
                if error.errno in NO_ROOM and self._make_room():
                    continue
                if error.errno in (*NOTHING_YET, *NO_ROOM):
                    return
                raise
            self._welcome(accepted, client, listener.getsockname())

    def _welcome(self, accepted: socket.socket, client: Any, server: Any) -> None:
        self.nr_conns += 1
        peer = client[0] if isinstance(client, tuple) else ""
        caller = Caller(Connection(accepted), client, server, client_addresses.network_of(peer))
        self._wait(caller, Waits.REQUEST)

    def _make_room(self) -> bool:
        caller = self.waiting.least_needed()
        if caller is None:
            return False
        self._close(caller)
        return True

    # ---- requests arrive

    def _wait(self, caller: Caller, kind: Waits) -> None:
        """Without a thread, for what comes next. The socket is in no list of the loop now."""
        caller.sock.setblocking(False)
        self._forget_closed(caller)
        self.waiting.add(caller, kind)
        self.poller.register(caller.sock, selectors.EVENT_READ, partial(self._readable, caller))

    def _forget_closed(self, caller: Caller) -> None:
        """Whoever took a connection over, such as a websocket, may have closed it while it waits here for its goodbye. Its number
        may be that of a new connection by now, which nobody would ever look at."""
        key = self.poller.get_map().get(caller.sock.fileno())
        if key is None or not isinstance(key.data, partial) or key.data.args[0] is caller:
            return
        gone: Caller = key.data.args[0]
        if gone.sock.fileno() >= 0:
            gone.sock.detach()  # its number is not its own any more
        self._close(gone)

    def _stop_waiting(self, caller: Caller) -> None:
        self.waiting.remove(caller)
        with contextlib.suppress(KeyError, ValueError, OSError):
            self.poller.unregister(caller.sock)

    def _readable(self, caller: Caller, _socket: Any) -> None:
        if not caller.listed:
            return
        try:
            data = caller.sock.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(caller)
        elif caller.waits is Waits.GOODBYE:
            self._drain(caller, len(data))
        elif self._hold(caller, data):
            self._look(caller)

    def _drain(self, caller: Caller, count: int) -> None:
        caller.drained += count
        if caller.drained > DRAIN_BYTES:
            self._close(caller)

    def _hold(self, caller: Caller, data: bytes) -> bool:
        if not self.held.take(caller.address, len(data)):
            self._refuse(caller, 503, "Too many requests are still arriving. Try again in a moment.")
            return False
        caller.held += len(data)
        caller.received += data
        return True

    def _look(self, caller: Caller) -> None:
        """Something came: whether a thread can begin."""
        if caller.head is None:
            caller.head = head_of(caller.received, caller.searched)
            caller.searched = len(caller.received)
        if caller.head is not None:
            self._look_at_body(caller)
        elif len(caller.received) > MAX_HEAD:
            self._refuse(caller, 431, "The headers of this request are too large.")
        elif caller.waits is Waits.REQUEST:
            self._wait_for(caller, Waits.HEAD)

    def _look_at_body(self, caller: Caller) -> None:
        head = caller.head
        assert head is not None
        told = client_addresses.network_of(client_addresses.forwarded(head.forwarded, self.hops))
        if whole(caller.received, head):
            self._ready(caller, told or caller.peer)
        elif head.body is not None and head.body <= SMALL_BODY and not head.expects:
            if caller.waits is not Waits.BODY:
                self._wait_for(caller, Waits.BODY, told or caller.peer)
        elif self.slow.take(told or caller.peer):
            self._leave_loop(caller, told or caller.peer)
            self._begin(caller, "slow")
        else:
            self._refuse(caller, 503 if self.slow.full() else 429, "Too many uploads are running. Try again in a moment.")

    def _wait_for(self, caller: Caller, kind: Waits, address: str = "") -> None:
        """Still in the loop, but for something else."""
        self.waiting.remove(caller)
        if address:
            self._count_for(caller, address)
        self.waiting.add(caller, kind)

    def _count_for(self, caller: Caller, address: str) -> None:
        """Counted by whom a proxy names, as soon as that is known."""
        if address != caller.address:
            self.held.give(caller.address, caller.held)
            caller.held = caller.held if self.held.take(address, caller.held) else 0
            caller.address = address

    def _leave_loop(self, caller: Caller, address: str) -> None:
        self._stop_waiting(caller)
        self._count_for(caller, address)

    # ---- requests are answered

    def _ready(self, caller: Caller, address: str) -> None:
        self._leave_loop(caller, address)
        self.turns.add(address, caller)
        self._next()

    def _next(self) -> None:
        while not self.ordinary.full() and (caller := self.turns.next(self.ordinary.free)) is not None:
            self.ordinary.take(caller.address)
            self._begin(caller, "ordinary")

    def _begin(self, caller: Caller, place: str) -> None:
        caller.place = place
        caller.sock.on_slow = partial(self._becomes_slow, caller)
        caller.sock.on_lasting = partial(self._give_place, caller)
        future = self.tpool.submit(self.handle, caller)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, caller, done))

    def _becomes_slow(self, caller: Caller) -> bool:
        """In the thread of a request that waits for its caller: others are to have its place."""
        if caller.place == "slow":
            return True
        if not self.slow.take(caller.address):
            return False
        self._give_place(caller)
        caller.place = "slow"
        return True

    def _give_place(self, caller: Caller) -> None:
        kind, caller.place = caller.place, ""
        if kind == "ordinary":
            self.ordinary.give(caller.address)
            self.method_queue.defer(self._next)
        elif kind == "slow":
            self.slow.give(caller.address)

    def handle(self, caller: Caller) -> bool:
        """In a thread: one request and its answer. Whether the connection stays."""
        request = None
        try:
            caller.sock.begin()
            request = self._parsed(caller)
            if not self.handle_request(request, caller):
                return False
            caller.sock.answered()
            return bool(caller.parser.finish_body(deadline=time.monotonic() + 1.0))
        except (http.errors.NoMoreData, StopIteration, Stalled) as error:
            self.log.debug("Closing connection. %s", error)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF):
                self.log.exception("Socket error processing request.")
        except Exception as error:
            self.handle_error(request, caller.sock, caller.client, error)
        return False

    def _parsed(self, caller: Caller) -> Any:
        if caller.parser is None:
            caller.parser = http.get_parser(self.cfg, caller.sock, caller.client)
        caller.parser.unreader.unread(bytes(caller.received))
        caller.received = bytearray()
        return next(caller.parser)

    def finish_request(self, caller: Caller, done: futures.Future[bool]) -> None:
        """Back in the loop."""
        self._give_place(caller)
        self.held.give(caller.address, caller.held)
        try:
            if not done.cancelled() and done.result():
                self._again(caller)
            else:
                self._goodbye(caller)
        except Exception:
            self.log.exception("a connection could not be kept")
            self._close(caller, waiting=False)
        self._next()

    def _again(self, caller: Caller) -> None:
        """The connection stays; part of its next request may have come with the last one."""
        caller.received = bytearray(caller.parser.unreader.take_buffered())
        caller.head, caller.searched, caller.held = None, 0, 0
        caller.address = caller.peer
        self._wait(caller, Waits.REQUEST)
        if not self.alive:
            self.waiting.hurry(Waits.REQUEST, time.monotonic() + 0.5)
        if caller.received:
            self._look(caller)

    # ---- connections go

    def _refuse(self, caller: Caller, status: int, words: str) -> None:
        """An answer without a thread; as small as it is, the kernel takes it at once."""
        title = {408: "Request Timeout", 429: "Too Many Requests", 431: "Request Header Fields Too Large"}
        name = title.get(status, "Service Unavailable")
        body = json.dumps({"type": "about:blank", "title": name, "status": status, "detail": words}).encode()
        head = f"HTTP/1.1 {status} {name}\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n"
        again = f"Retry-After: {RETRY_AFTER}\r\n" if status in (429, 503) else ""
        with contextlib.suppress(OSError):
            caller.sock.send(f"{head}{again}Connection: close\r\n\r\n".encode() + body)
        self._stop_waiting(caller)
        self.held.give(caller.address, caller.held)
        self._goodbye(caller)

    def _goodbye(self, caller: Caller) -> None:
        caller.received, caller.held, caller.parser = bytearray(), 0, None
        try:
            caller.sock.shutdown(socket.SHUT_WR)
        except OSError:  # closed already, by the other side or by whoever took it over
            self._close(caller, waiting=False)
        else:
            self._wait(caller, Waits.GOODBYE)

    def _too_late(self, caller: Caller) -> None:
        if caller.waits in (Waits.HEAD, Waits.BODY):
            self._refuse(caller, 408, "The request did not arrive in time.")
        else:
            self._close(caller)

    def _close(self, caller: Caller, *, waiting: bool = True) -> None:
        if waiting:
            self._stop_waiting(caller)
            self.held.give(caller.address, caller.held)
        self.nr_conns -= 1
        with contextlib.suppress(OSError):
            caller.sock.close()


def _room() -> int:
    """How many connections there may be: a quarter of the files a process may open is for all else that the portal does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return max(min(soft, 65_536) * 3 // 4, 64) if soft != resource.RLIM_INFINITY else 65_536
