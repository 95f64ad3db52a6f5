"""The API under /api/v1: one file per noun."""

from __future__ import annotations

from flask import Blueprint


def blueprint() -> Blueprint:
    return Blueprint("api", __name__, url_prefix="/api/v1")
