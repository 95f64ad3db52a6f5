"""Files that go with a message: taken into the work folder of the claw, and pictures among them shown again."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable

from clawportal.sdk import _m
from clawportal.sdk.data import db
from clawportal.sdk.errors import Invalid, NotFound
from clawportal.sdk.files import TooLarge, file_spot, fits, map_errors, reach, readable, upload
from clawportal.sdk.fleet import Portal
from clawportal.sdk.permissions import INSTANCE_CHAT, Actor
from clawportal_conversations import services
from clawportal_conversations.models import Message
from clawportal_conversations.settings import ConversationSettings
from clawportal_conversations.talking import refuse_files

LARGEST_PICTURE = 10_000_000
_PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF87a": "image/gif", b"GIF89a": "image/gif"}
_UNUSUAL = re.compile(r"[^\w.-]+")
_LONGEST_NAME = 100


def take(portal: Portal, actor: Actor, conversation_id: str, name: str, size: int | None, pieces: Iterable[bytes]) -> str:
    """Its path in the work folder, by which a message names it. What is too large is refused before a byte is read."""
    row = services.get(actor, conversation_id)
    claw = services.claw_of(row)
    refuse_files(portal, claw)
    known = fits(portal, size)
    if known > (most := most_bytes(portal)):
        said = _m(
            "%(name)s takes files of at most %(size)s here. Put larger ones into its work folder, and say where they are.",
            name=claw.name, size=readable(most),
        )  # fmt: skip
        raise TooLarge(said)
    path = f"attachments/{row.id}/{secrets.token_hex(3)}-{_plain(name)}"
    upload(portal, actor, claw.id, f"work/{path}", size, pieces, overwrite=False)
    return path


def most_bytes(portal: Portal) -> int:
    return portal.section(ConversationSettings).attached_megabytes * 1_000_000


def _plain(name: str) -> str:
    """Good in every shell, and in a line that a claw is told."""
    plain = _UNUSUAL.sub("_", name.strip())[-_LONGEST_NAME:].lstrip(".")
    if not plain.strip("_"):
        raise Invalid.field("name", _m("must be the name of a file"))
    return plain


def picture(portal: Portal, actor: Actor, conversation_id: str, message_id: str, path: str) -> tuple[bytes, str]:
    """An attached picture and its kind, which is read off its first bytes: nothing else of the work folder is shown here."""
    row = services.get(actor, conversation_id)
    message = db.session.get(Message, message_id)
    if message is None or message.conversation_id != row.id or path not in message.files:
        raise _none()
    files, place = reach(portal, actor, row.instance_id, INSTANCE_CHAT), file_spot(f"work/{path}")
    with map_errors(files.name, place):
        found = files.runtime.read_file(files.ref, place.root, place.inner, LARGEST_PICTURE + 1)
    kind = _kind(found)
    if not kind or len(found) > LARGEST_PICTURE:
        raise _none()
    return found, kind


def _kind(found: bytes) -> str:
    if found[:4] == b"RIFF" and found[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for begin, kind in _PICTURES.items() if found.startswith(begin)), "")


def _none() -> NotFound:
    return NotFound(_m("This is no picture that can be shown, or it is not there any more."))
