"""Limits of daily work with files."""

from __future__ import annotations

from pydantic import BaseModel, Field


class FilesSettings(BaseModel):
    trash_days: int = Field(30, ge=1, le=3650, description="Days that deleted files stay in the trash of a claw.")
    archive_mib: int = Field(4096, ge=1, le=1 << 20, description="MiB in a folder that is copied or downloaded as ZIP.")
    archive_entries: int = Field(20_000, ge=1, le=1_000_000, description="Files and folders in such a folder.")
    edit_kib: int = Field(2048, ge=1, le=65_536, description="KiB of a file that is opened in the editor.")
    upload_hours: int = Field(24, ge=1, le=720, description="Hours until an upload that nobody went on with is dropped.")
    uploads_each: int = Field(20, ge=1, le=1000, description="Unfinished uploads that one person may have.")
    uploads_mib: int = Field(10_240, ge=1, le=1 << 24, description="MiB of the portal's disk for all unfinished uploads.")
    uploads_person_mib: int = Field(5120, ge=1, le=1 << 24, description="MiB of these that one person may have been promised.")
    uploads_tenant_mib: int = Field(8192, ge=1, le=1 << 24, description="MiB of these for the claws of one organisation.")
