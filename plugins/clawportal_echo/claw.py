"""The echo claw: the smallest thing that can be managed. It repeats what it is told and counts how often.

    python3 -I claw.py echo.json            run
    python3 -I claw.py --check echo.json    say whether the configuration is good, and exit 0 or 2

Standard library only. The token that callers must send comes in the environment variable ECHO_TOKEN.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DEFAULTS: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 8700,
    "greeting": "You said",
    "log_every": 0,
    "refuse": "no",
    "exit_after": 0,
    "exit_code": 1,
    "ignore_sigterm": False,
    "flood": 0,
    "startup_delay": 0,
}


FILE = re.compile(r"/files/([A-Za-z0-9_-][A-Za-z0-9._-]{0,100})(?:\?.*)?")
TYPES = {"html": "text/html; charset=utf-8", "js": "text/javascript", "txt": "text/plain; charset=utf-8"}


class Refused(Exception):
    """The configuration cannot be used."""


def log(level: str, message: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), level, message, flush=True)


def read_config(path: str, *, checking: bool) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            given = json.load(file)
    except (OSError, ValueError) as error:
        raise Refused(f"cannot read {os.path.basename(path)}: {error}") from None
    if not isinstance(given, dict):
        raise Refused("the configuration has to be a JSON object")
    for key, value in given.items():
        if key not in DEFAULTS:
            raise Refused(f"unknown key {key!r}; known keys are {', '.join(sorted(DEFAULTS))}")
        numbers = isinstance(DEFAULTS[key], int) and not isinstance(DEFAULTS[key], bool)
        if not isinstance(value, (int, float) if numbers else type(DEFAULTS[key])) or (numbers and isinstance(value, bool)):
            raise Refused(f"{key} has to be a {'number' if numbers else type(DEFAULTS[key]).__name__}, not {value!r}")
    config = DEFAULTS | given
    if config["refuse"] == "always" or (config["refuse"] == "start" and not checking):
        raise Refused("refuse is set, so this configuration is refused")
    return config


class Claw:
    def __init__(self, path: str) -> None:
        self.path, self.lock = path, threading.Lock()
        self.config = read_config(path, checking=False)
        self.read_at = os.stat(path).st_mtime_ns
        self.counter_path = os.path.join(os.path.dirname(os.path.abspath(path)), "counter.json")
        self.counts = {"starts": 0, "messages": 0}
        try:
            with open(self.counter_path, encoding="utf-8") as file:
                self.counts.update(json.load(file))
        except (OSError, ValueError):
            pass
        self.count("starts")

    def count(self, what: str) -> int:
        """Add one, on disk before anybody hears of it."""
        with self.lock:
            self.counts[what] += 1
            with open(self.counter_path + ".new", "w", encoding="utf-8") as file:
                json.dump(self.counts, file)
            os.replace(self.counter_path + ".new", self.counter_path)
            return self.counts[what]

    def greeting(self) -> str:
        """Read again when the file has changed; a bad new file leaves the old configuration in force."""
        with self.lock:
            try:
                changed = os.stat(self.path).st_mtime_ns
                if changed != self.read_at:
                    self.read_at = changed
                    self.config = read_config(self.path, checking=False)
                    log("INFO", "configuration read again")
            except (OSError, Refused) as error:
                log("WARNING", f"new configuration not used: {error}")
            return str(self.config["greeting"])


class Handler(BaseHTTPRequestHandler):
    claw: Claw
    timeout = 60

    def log_message(self, format: str, *args: Any) -> None:
        log("DEBUG" if self.path == "/health" else "INFO", format % args)

    def allowed(self) -> bool:
        sent = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if hmac.compare_digest(sent.encode(), os.environ.get("ECHO_TOKEN", "").encode()):
            return True
        self.answer(401, {"error": "send the token as Authorization: Bearer TOKEN"})
        return False

    def do_GET(self) -> None:
        if self.path == "/health":
            return self.answer(200, {"status": "ok", **self.claw.counts})
        if not self.allowed():
            return
        if self.path == "/socket":
            return self.socket()
        named = FILE.fullmatch(self.path)
        # its own page; and what lies in its work folder, in which it was started
        path = os.path.join(os.path.dirname(os.path.abspath(self.claw.path)), "page.html") if self.path == "/" else ""
        if not path and not (named and os.path.isfile(path := named[1])):
            return self.answer(404, {"error": "there are GET /health, GET /, GET /files/NAME, GET /socket and POST /chat"})
        self.file(path)

    def file(self, path: str) -> None:
        with open(path, "rb") as file:
            self.send_response(200)
            self.send_header("Content-Type", TYPES.get(path.rpartition(".")[2], "application/octet-stream"))
            self.send_header("Content-Length", str(os.fstat(file.fileno()).st_size))
            self.end_headers()
            self.connection.sendfile(file)

    def socket(self) -> None:
        """A WebSocket that repeats what it is told, until it is closed."""
        key = self.headers.get("Sec-WebSocket-Key", "")
        if self.headers.get("Upgrade", "").lower() != "websocket" or not key:
            return self.answer(400, {"error": "this is a WebSocket"})
        accepted = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
        self.wfile.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(accepted) + b"\r\n\r\n"
        )
        self.close_connection = True
        self.connection.settimeout(None)
        while frame := self.frame():
            kind, data = frame
            if kind == 8:
                return self.say(8, data[:2])
            if kind == 9:
                self.say(10, data)
            elif kind in (1, 2):
                number = self.claw.count("messages")
                reply = f"{self.claw.greeting()}: {data.decode('utf-8', 'replace')} (message {number})"
                self.say(1, reply.encode())

    def frame(self) -> tuple[int, bytes] | None:
        """The next whole message of up to 64 KiB, as browsers send it."""
        head = self.rfile.read(2)
        if len(head) < 2:
            return None
        length = head[1] & 127
        if length == 126:
            length = int.from_bytes(self.rfile.read(2), "big")
        elif length == 127:
            return None
        mask = self.rfile.read(4)
        return head[0] & 15, bytes(byte ^ mask[place % 4] for place, byte in enumerate(self.rfile.read(length)))

    def say(self, kind: int, data: bytes) -> None:
        size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2, "big")
        self.wfile.write(bytes([128 | kind]) + size + data)
        self.wfile.flush()

    def do_POST(self) -> None:
        if not self.allowed():
            return
        try:
            request = json.loads(self.rfile.read(min(int(self.headers["Content-Length"]), 1_000_000)))
            session, text = str(request["session"]), str(request["text"])
        except (TypeError, ValueError, KeyError):
            return self.answer(400, {"error": "send a JSON object with session and text"})
        number = self.claw.count("messages")
        log("INFO", f"message {number} in session {session}")
        reply = f"{self.claw.greeting()}: {text} (message {number})"
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()
        for word in reply.splitlines(keepends=True) if len(reply) > 2000 else reply.split(" "):
            self.line({"delta": word if len(reply) > 2000 else word + " "})
        self.line({"final": reply})

    def line(self, data: dict[str, Any]) -> None:
        self.wfile.write(json.dumps(data).encode() + b"\n")
        self.wfile.flush()

    def answer(self, status: int, data: dict[str, Any]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(data).encode())


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        self.socket.setsockopt(1, 2, 1)  # SOL_SOCKET, SO_REUSEADDR
        self.socket.bind(self.server_address)  # not HTTPServer's: it asks DNS for a name that nobody needs
        self.server_name, self.server_port = "echo", self.socket.getsockname()[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that hangs up is no error of ours."""


def in_background(work: Any, *args: Any) -> None:
    threading.Thread(target=work, args=args, daemon=True).start()


def heartbeat(seconds: float, claw: Claw) -> None:
    while True:
        time.sleep(seconds)
        log("INFO", f"alive, {claw.counts['messages']} messages so far")


def flood(per_second: float) -> None:
    number, started = 0, time.monotonic()
    while True:
        while number < (time.monotonic() - started) * per_second:
            number += 1
            log("INFO", f"flood line {number}")
        time.sleep(0.01)


def leave(seconds: float, code: int) -> None:
    time.sleep(seconds)
    log("ERROR", f"leaving with code {code}, as exit_after says")
    os._exit(code)


def stop(number: int, frame: object) -> None:
    log("INFO", "stopping")
    sys.exit(0)


def main(arguments: list[str]) -> int:
    checking, path = arguments[0] == "--check", arguments[-1]
    try:
        if checking:
            read_config(path, checking=True)
            print("the configuration is good")
            return 0
        claw = Claw(path)
    except Refused as refusal:
        print(f"echo: configuration refused: {refusal}", file=sys.stderr, flush=True)
        return 2
    config = claw.config
    signal.signal(signal.SIGTERM, signal.SIG_IGN if config["ignore_sigterm"] else stop)
    if config["exit_after"]:
        in_background(leave, config["exit_after"], int(config["exit_code"]))
    time.sleep(config["startup_delay"])
    server = Server((config["host"], int(config["port"])), type("BoundHandler", (Handler,), {"claw": claw}))
    log("INFO", f"echo listening on {config['host']}:{config['port']}, start {claw.counts['starts']}")
    if config["log_every"]:
        in_background(heartbeat, config["log_every"], claw)
    if config["flood"]:
        in_background(flood, config["flood"])
    server.serve_forever(poll_interval=3600)  # signals end it; waking up twice a second would cost with many claws
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
