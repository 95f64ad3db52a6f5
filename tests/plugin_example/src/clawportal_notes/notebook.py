"""A notifier that appends what happens to a file, as people kept notebooks."""

from __future__ import annotations

from pathlib import Path

from clawportal.sdk import _m
from clawportal.sdk.notifiers import Notice, Retry


class Notebook:
    kind = "notebook"
    title = _m("A notebook")

    def check(self, to: str) -> str:
        return "" if Path(to).is_absolute() else "For a notebook, write the whole path of a file, such as /var/log/claws.txt."

    def send(self, notice: Notice, to: str) -> None:
        try:
            with open(to, "a", encoding="utf-8") as file:
                file.write(f"{notice.event.at:%Y-%m-%d %H:%M} {notice.title} {notice.text}\n")
        except OSError as error:
            raise Retry("NotebookUnwritable", f"{to} cannot be written: {error.strerror}") from error
