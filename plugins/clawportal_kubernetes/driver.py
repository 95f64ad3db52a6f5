"""Connects to a Kubernetes cluster. Imports no client of it before that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from clawportal.sdk import _m
from clawportal.sdk.errors import Invalid
from clawportal_kubernetes.settings import KubernetesSettings

if TYPE_CHECKING:
    from clawportal.sdk.runtimes import Place, Runtime


class KubernetesDriver:
    """Kind `kubernetes`."""

    kind = "kubernetes"
    title = _m("Kubernetes")

    def settings_model(self) -> type[BaseModel]:
        return KubernetesSettings

    def connect(self, place: Place) -> Runtime:
        from clawportal_kubernetes.runtime import KubernetesRuntime

        try:
            settings = KubernetesSettings.model_validate({**place.settings, **place.secrets})
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            path = ".".join(map(str, first["loc"])) or "settings"
            raise Invalid.field(path, first["msg"].removeprefix("Value error, ")) from error
        return KubernetesRuntime(place, settings)
