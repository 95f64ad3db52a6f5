"""Limits of daily work with files."""

from __future__ import annotations

from pydantic import BaseModel, Field

from clawportal.sdk import _m
from clawportal.sdk.settings import CHANGEABLE


class FilesSettings(BaseModel):
    trash_days: int = Field(
        30,
        ge=1,
        le=3650,
        title=_m("How long the trash is kept"),
        description=_m("Days that deleted files stay in the trash of a claw."),
        json_schema_extra=CHANGEABLE,
    )
    archive_mib: int = Field(
        4096,
        ge=1,
        le=1 << 20,
        title=_m("Largest folder to download"),
        description=_m("MiB in a folder that is copied or downloaded as ZIP."),
        json_schema_extra=CHANGEABLE,
    )
    archive_entries: int = Field(
        20_000,
        ge=1,
        le=1_000_000,
        title=_m("Most files in a folder to download"),
        description=_m("Files and folders in such a folder."),
        json_schema_extra=CHANGEABLE,
    )
    edit_kib: int = Field(
        2048,
        ge=1,
        le=65_536,
        title=_m("Largest file in the editor"),
        description=_m("KiB of a file that is opened in the editor."),
        json_schema_extra=CHANGEABLE,
    )
    show_mib: int = Field(
        64,
        ge=1,
        le=1 << 20,
        title=_m("Largest file that is shown"),
        description=_m("MiB of a picture, a PDF, sound or a film that is shown in the page."),
        json_schema_extra=CHANGEABLE,
    )
    upload_hours: int = Field(
        24,
        ge=1,
        le=720,
        title=_m("How long an unfinished upload is kept"),
        description=_m("Hours until an upload that nobody went on with is dropped."),
        json_schema_extra=CHANGEABLE,
    )
    uploads_each: int = Field(
        20,
        ge=1,
        le=1000,
        title=_m("Unfinished uploads of one person"),
        description=_m("Unfinished uploads that one person may have."),
        json_schema_extra=CHANGEABLE,
    )
    uploads_mib: int = Field(
        10_240,
        ge=1,
        le=1 << 24,
        title=_m("Room for unfinished uploads"),
        description=_m("MiB of the portal's disk for all unfinished uploads."),
        json_schema_extra=CHANGEABLE,
    )
    uploads_person_mib: int = Field(
        5120,
        ge=1,
        le=1 << 24,
        title=_m("Room for unfinished uploads of one person"),
        description=_m("MiB of these that one person may have been promised."),
        json_schema_extra=CHANGEABLE,
    )
    uploads_tenant_mib: int = Field(
        8192,
        ge=1,
        le=1 << 24,
        title=_m("Room for unfinished uploads of one organisation"),
        description=_m("MiB of these for the claws of one organisation."),
        json_schema_extra=CHANGEABLE,
    )
