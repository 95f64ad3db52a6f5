"""Settings of mail that cannot work are named: at the start, or by `clawportal doctor`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from clawportal.cli import diagnosis
from clawportal.settings import Settings, Unreadable

SERVER = {"SMTP_HOST": "mail.example.com", "MAIL_FROM": "claws@example.com"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("MAIL_FROM", "nonsense"), ("WEBHOOK_NETWORKS", '["10.0.0"]'),
     ("MAIL_FROM", "a@b.c\r\nBcc: x@y.z"), ("SMTP_TLS", "maybe"), ("SMTP_PORT", "0")],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_named(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"CLAWPORTAL_NOTIFICATIONS_{name}", value)
    with pytest.raises(Unreadable, match=name.lower()):
        make_app()


@pytest.mark.parametrize(
    ("more", "said"),
    [({"MAIL_FROM": ""}, "not both"), ({"SMTP_USER": "kim", "SMTP_TLS": "none"}, "as it is"), ({}, "have no links")],
)
def test_the_doctor_says_what_is_wrong_with_mail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, str], said: str
) -> None:
    for name, value in (SERVER | more).items():
        monkeypatch.setenv(f"CLAWPORTAL_NOTIFICATIONS_{name}", value)
    [found] = findings(tmp_path)
    assert not found.ok and said in found.message and found.remedy


def test_the_doctor_is_silent_without_mail_and_content_with_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert findings(tmp_path) == []
    for name, value in SERVER.items():
        monkeypatch.setenv(f"CLAWPORTAL_NOTIFICATIONS_{name}", value)
    [found] = findings(tmp_path, public_url="https://claws.example.com")
    assert found.ok and "mail.example.com:587" in found.message


def findings(folder: Path, **more: Any) -> list[Any]:
    return [one for one in diagnosis.examine(Settings(data_dir=folder / "data", **more)) if one.name == "mail"]
