"""A connection that somebody else closed leaves its number to the next one, which is looked at all the same."""

from __future__ import annotations

import selectors
import socket
from contextlib import closing
from types import SimpleNamespace

from clawportal.wire.caller import Waiting
from clawportal.wire.places import Places
from clawportal.wire.worker import HELD_BYTES, HELD_EACH, Worker

HERE = ("127.0.0.1", 1)


def loop() -> Worker:
    """A worker with its loop alone."""
    made = Worker.__new__(Worker)
    made.poller, made.waiting, made.held = selectors.DefaultSelector(), Waiting(), Places(HELD_BYTES, HELD_EACH)
    made.nr_conns, made.cfg = 0, SimpleNamespace(threads=1)
    return made


def test_a_number_that_is_given_again_is_looked_at() -> None:
    worker = loop()
    first, other = socket.socketpair()
    worker._welcome(first, HERE, HERE)
    ((number, key),) = list(worker.poller.get_map().items())
    key.data.args[0].sock.close()  # as a websocket does in its own thread
    second, speaker = socket.socketpair()
    assert second.fileno() == number
    with closing(other), closing(speaker):
        worker._welcome(second, HERE, HERE)
        caller = worker.poller.get_map()[number].data.args[0]
        assert worker.nr_conns == 1 and caller.sock.fileno() == number
        speaker.sendall(b"GET / HTTP/1.1\r\n")
        for event, _ in worker.poller.select(5):
            event.data(event.fileobj)
        assert bytes(caller.received) == b"GET / HTTP/1.1\r\n"
        worker._close(caller)
    worker.poller.close()
