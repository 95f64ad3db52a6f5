"""Commands that people run in a claw."""

from __future__ import annotations

import secrets as random_bytes
from collections.abc import Sequence

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import Conflict, GiveUp
from clawportal.sdk.runtimes import ExecSession, Ref
from clawportal_docker import naming
from clawportal_docker.containers import Containers
from clawportal_docker.engine import Engine
from clawportal_docker.errors import map_errors
from clawportal_docker.helpers import Helpers
from clawportal_docker.streams import Exec

_END = r"""p=$(cat "$1") || exit 0
kill -HUP -- -"$p" 2>/dev/null || kill -HUP "$p"
sleep 0.2
kill -KILL -- -"$p" 2>/dev/null; kill -KILL "$p"; rm -f -- "$1"; exit 0"""


class Commands:
    def __init__(self, engine: Engine, containers: Containers, helpers: Helpers) -> None:
        self.engine, self.containers, self.helpers = engine, containers, helpers

    def start(self, ref: Ref, argv: Sequence[str], *, tty: bool = False, columns: int = 80, rows: int = 24) -> ExecSession:
        self.containers.may_change(ref)
        with map_errors(ref):
            main = self.containers.main(ref)
            if main is None or main["State"] != "running":
                raise Conflict(_m("%(ref)s does not run, so nothing can be run in it.", ref=ref))
            user = main["Labels"].get(naming.USER, "")
            if self.helpers.run(main["Id"], ("/bin/sh", "-c", 'command -v -- "$1" >/dev/null', "sh", argv[0]), user)[0] != 0:
                raise GiveUp(
                    _n("CommandNotFound"),
                    _m("There is no program %(argv)s in %(ref)s.", argv=repr(argv[0]), ref=ref),
                    _m("Check its name."),
                )
            mark = f"{naming.TMP}/.clawportal-{random_bytes.token_hex(6)}"
            size = f"stty cols {int(columns)} rows {int(rows)} 2>/dev/null; " if tty else ""  # before the program asks for it
            script = f'{{ echo $$ > "$0"; }} 2>/dev/null; {size}exec "$@"'  # in a container of others it may not be writable
            made = self.engine.client.exec_create(
                main["Id"], ["/bin/sh", "-c", script, mark, *argv], stdin=True, tty=tty, user=user,
                environment={"TERM": "xterm-256color"} if tty else None,
            )  # fmt: skip
            sock = self.engine.slow.exec_start(made["Id"], tty=tty, socket=True)
        argv_of_end = ("/bin/sh", "-c", _END, "sh", mark)
        session = Exec(
            self.engine.client, made["Id"], sock, tty=tty,
            end=lambda: self.helpers.run(main["Id"], argv_of_end, user) and None,
        )  # fmt: skip
        session.resize(columns, rows)
        return session
