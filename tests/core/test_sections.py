"""Sections of the settings: from the file and the environment, with errors that name the setting."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from clawportal import sections
from clawportal.settings import Settings, Unreadable


class NotesSettings(BaseModel):
    keep_days: int = Field(30, ge=1, description="Notes are kept so many days.")
    folders: list[str] = Field(default_factory=list, description="Folders that are offered.")


def settings_of(folder: Path, text: str) -> Settings:
    folder.joinpath("clawportal.toml").write_text(text)
    return Settings(data_dir=folder)


def test_the_environment_outranks_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(tmp_path, 'port = 8123\n[notes]\nkeep_days = 5\nfolders = ["a"]\n')
    assert settings.port == 8123
    assert sections.read(settings, "notes", NotesSettings) == NotesSettings(keep_days=5, folders=["a"])
    monkeypatch.setenv("CLAWPORTAL_NOTES_KEEP_DAYS", "7")
    monkeypatch.setenv("CLAWPORTAL_NOTES_FOLDERS", '["b", "c"]')
    found = sections.read(settings, "notes", NotesSettings)
    assert isinstance(found, NotesSettings) and (found.keep_days, found.folders) == (7, ["b", "c"])
    assert sections.read(settings, "other", NotesSettings) == NotesSettings()


@pytest.mark.parametrize(("text", "said"), [
    ("[notes]\nkeep_days = 0\n", r"keep_days in the section \[notes\].*CLAWPORTAL_NOTES_KEEP_DAYS: .*greater than or equal to 1"),
    ("[notes]\nkep_days = 3\n", r"kep_days in the section \[notes\].* is no setting of this section"),
])  # fmt: skip
def test_a_wrong_value_is_named(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=said):
        sections.read(settings_of(tmp_path, text), "notes", NotesSettings)


def test_a_section_that_nobody_reads_is_named_and_no_error(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "[notes]\nkeep_days = 3\n[nots]\nx = 1\n")
    assert sections.unknown(settings, ["notes"]) == ["nots"]
    assert sections.unknown(Settings(data_dir=tmp_path / "none"), []) == []
