"""The API under /api/v1: one file per noun. Features name the modules; each app collects the operations of its own features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState

from clawportal.api import _layer, _openapi
from clawportal.contracts.features import ApiTag, Feature
from clawportal.declarations import marked
from clawportal.errors import PasswordChangeRequired
from clawportal.http import security, uploads
from clawportal.pluginmanager import Registry

EXTENSION = "clawportal_api"


@dataclass(frozen=True)
class Api:
    """The API of one app."""

    operations: tuple[_layer.Operation, ...]
    """In the order of the document."""
    tags: tuple[ApiTag, ...]

    @cached_property
    def document(self) -> dict[str, Any]:
        """OpenAPI 3.1; made when it is asked for first."""
        return _openapi.document(self.operations, self.tags)


def collected(registry: Registry) -> Api:
    """The operations of all features. A plugin whose operations cannot be used is left out of the registry."""
    operations = registry.gather("operations", _of, key=lambda operation: operation.name)
    tags = sorted((tag for feature in registry.features for tag in feature.api_tags), key=lambda tag: tag.order)
    return Api(tuple(operations), tuple(tags))


def _of(feature: Feature) -> Iterator[_layer.Operation]:
    for module in feature.api:
        yield from marked(module, _layer.MARK)


def of_app() -> Api:
    """The API of the app that answers now."""
    return cast(Api, current_app.extensions[EXTENSION])


def blueprint(api: Api) -> Blueprint:
    """Every operation as a route, and what all their answers have in common."""
    made = Blueprint("api", __name__, url_prefix="/api/v1")
    for operation in api.operations:
        made.add_url_rule(operation.rule, operation.name, _layer.view_of(operation), methods=[operation.method])
    made.before_request(_own_password_first)
    made.after_request(_challenge)
    made.record(lambda state: _outside_the_blueprint(state, api))
    return made


_BEFORE_THAT = {"api.get_me", "api.log_out"}


def _own_password_first() -> None:
    """A browser's session of somebody with a given password is good for changing it, and for nothing here."""
    if request.endpoint in _BEFORE_THAT or not security.needs_somebody():
        return
    asking = security.current_actor()
    if asking is not None and asking.password_given and asking.kind == "user":
        raise PasswordChangeRequired


def _outside_the_blueprint(state: BlueprintSetupState, api: Api) -> None:
    """What supervisors ask at the root as they are used to, and the changes that need neither session nor token."""
    state.app.extensions[EXTENSION] = api
    for operation in api.operations:
        endpoint = f"api.{operation.name}"
        if operation.at_root:
            state.app.add_url_rule(operation.rule, endpoint, state.app.view_functions[endpoint], methods=[operation.method])
        if operation.streamed:
            uploads.streamed(state.app).add(endpoint)
        if operation.csrf_free:
            state.app.config.setdefault("CSRF_FREE", set()).add(endpoint)


def _challenge(answer: Response) -> Response:
    """RFC 9110: a 401 says by what one can sign in."""
    if answer.status_code == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="clawportal"'
    return answer
