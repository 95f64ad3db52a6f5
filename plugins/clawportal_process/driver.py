"""Connects to this machine. Imports nothing of the runtime before that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from clawportal.sdk import _m
from clawportal_process.settings import ProcessSettings

if TYPE_CHECKING:
    from clawportal.sdk.runtimes import Place, Runtime


class ProcessDriver:
    """Kind `process`."""

    kind = "process"
    title = _m("This machine")

    def settings_model(self) -> type[BaseModel]:
        return ProcessSettings

    def connect(self, place: Place) -> Runtime:
        from clawportal_process.runtime import ProcessRuntime

        return ProcessRuntime(place, ProcessSettings.model_validate(dict(place.settings)))
