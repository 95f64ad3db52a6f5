"""The rights that come with notes, and what a note is to those who read lists and the audit."""

from __future__ import annotations

from clawportal.sdk import _m
from clawportal.sdk.features import Resource
from clawportal.sdk.permissions import READERS, permission

NOTES_READ = permission("notes.read", _m("Read the notes about claws"), roles=READERS)
NOTES_WRITE = permission("notes.write", _m("Write, close and delete notes"), roles=("developer", "operator", "tenant-admin"))

NOTE = Resource("notes_note", _m("note"), key="note", read=NOTES_READ, titles={"text": _m("Text"), "urgent": _m("Urgent")})
