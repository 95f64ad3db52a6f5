"""The OpenAPI 3.1 document, made from the operations of an app alone."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from clawportal import __version__
from clawportal.api._layer import SSE, Answer, Operation
from clawportal.contracts.features import ApiTag

PROBLEM = "application/problem+json"
_BYTES = ("application/octet-stream", "application/x-tar")

DESCRIPTION = """\
Everything that the pages of the portal do can be done by a program.

Send a token as `Authorization: Bearer ...`: an API token (`clp_...`), or the access token of `/auth/login`. A browser's
session works too; changes then need the page's CSRF token in `X-CSRFToken`. What you may not see answers 404, as if it did not
exist; what you may see but not do answers 403.

Errors are `application/problem+json` (RFC 9457); `errors` names each field at fault by its path. Requests that change an
instance answer at once: they store what is wanted, and `phase`, `sync` and `health` tell how far it is.
"""

PROBLEMS = {
    400: "The request cannot be read, such as a body that is not JSON.",
    401: "Nobody is signed in, or the token is unknown, expired or revoked.",
    403: "You may see this but not do it.",
    404: "There is no such thing, or it is not yours.",
    409: "It does not fit the present state.",
    411: "Send the size of the body as Content-Length.",
    412: "Somebody else changed it since you read it.",
    413: "The body is larger than it may be.",
    507: "There is no room left: on the disk of the portal, or within the storage limit of the claw.",
    415: "The body has another content type than is taken here.",
    422: "What was sent cannot be accepted; `errors` says which fields and why. Nothing was stored.",
    428: "Say which generation you are changing: If-Match, or `generation` in the body.",
    429: "Too many attempts; Retry-After says when to try again.",
    503: "A part that is needed does not answer.",
}


class FieldProblem(Answer):
    path: str = Field(description="Where in the document that was sent, with dots between.")
    message: str
    code: str = Field(description="A word for programs: `missing`, `unknown`, `taken`, `invalid` ...")


class ProblemDocument(Answer):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    type: str
    title: str
    status: int
    detail: str = Field(description="What happened and what to do about it.")
    code: str = Field(description="A stable word for programs.")
    instance: str = Field(description="The path that was asked for.")
    request_id: str = Field(description="The same as in X-Request-ID and in the portal's log.")
    errors: list[FieldProblem] = Field(default_factory=list, description="Absent where no field is at fault.")


_EXAMPLE_PROBLEM = {
    "type": "urn:clawportal:problem:invalid",
    "title": "Please check what you entered",
    "status": 422,
    "detail": "The instance was not created: spec.model.name: is needed: the model's name as the provider spells it",
    "code": "invalid",
    "instance": "/api/v1/instances",
    "request_id": "4bf92f3577b34da6",
    "errors": [
        {"path": "spec.model.name", "message": "is needed: the model's name as the provider spells it", "code": "missing"}
    ],
}

_HEADERS = {
    "ETag": {
        "description": "The generation, to be sent as If-Match with a change.",
        "schema": {"type": "string"},
        "example": '"3"',
    },
    "Tag": {
        "description": "Of what is said here. Send it as If-None-Match next time: 304 means that nothing changed.",
        "schema": {"type": "string"},
        "example": 'W/"5e1c7f0a9d3b24680f11a2c3"',
    },
    "Location": {"description": "Path of what was created.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "How to sign in.", "schema": {"type": "string"}},
}

_HEADER_PARAMETERS = {
    "if_match": {
        "name": "If-Match",
        "in": "header",
        "required": False,
        "description": "The ETag that was read. Needed unless `generation` stands in the body.",
        "schema": {"type": "string"},
        "example": '"3"',
    },
    "idempotency_key": {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "A text of up to 200 characters, new for each new object. A repeated request gets the first one's object.",
        "schema": {"type": "string", "maxLength": 200},
        "example": "5f0c2d6e-create-help-desk",
    },
}


_UNCHANGED = "Unchanged"
_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The ETag of the answer that you have, or several. If nothing changed since, 304 comes without a body.",
    "schema": {"type": "string"},
    "example": 'W/"5e1c7f0a9d3b24680f11a2c3"',
}


def servers(root: str) -> list[dict[str, str]]:
    """`root` is the path that a portal is served under, where there is one."""
    return [{"url": f"{root}/api/v1", "description": "This portal"}]


def document(operations: Sequence[Operation], tags: Iterable[ApiTag]) -> dict[str, Any]:
    """The whole document. The same for every portal with these features."""
    schemas = _Schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    used = {tag for operation in operations for tag in operation.tags}
    return {
        "openapi": "3.1.0",
        "info": {"title": "clawportal", "version": __version__, "description": DESCRIPTION, "license": _licence()},
        "servers": servers(""),
        "tags": [{"name": tag.name, "description": tag.description} for tag in tags if tag.name in used],
        "security": [{"bearer": []}, {"cookie": []}],
        "paths": paths,
        "components": {
            "schemas": schemas.definitions,
            "responses": {
                _UNCHANGED: {"description": "Nothing changed since the answer that If-None-Match names."},
                **{_response_name(status): _problem(status) for status in PROBLEMS},
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API token, or an access token of /auth/login."},
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "clawportal",
                    "description": "A browser's session; `__Host-clawportal` over TLS. Changes need the header X-CSRFToken too.",
                },
            },
        },
    }


def _licence() -> dict[str, str]:
    return {"name": "Apache 2.0", "identifier": "Apache-2.0"}


class _Schemas:
    """JSON Schemas of all models that operations name, as components."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        wanted: dict[tuple[Any, JsonSchemaMode], TypeAdapter[Any]] = {}
        for operation in operations:
            for kind, mode in _types(operation):
                wanted[_key(kind, mode)] = TypeAdapter(kind)
        wanted[_key(ProblemDocument, "serialization")] = TypeAdapter(ProblemDocument)
        inputs = [(key, key[1], adapter) for key, adapter in wanted.items()]
        found, rest = TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")
        self._found = {key: dict(schema) for (key, _), schema in found.items()}
        self.definitions: dict[str, Any] = _renamed_keys(rest.get("$defs", {}))
        self.queries = {name: self.definitions.pop(name) for name in _query_names(operations) if name in self.definitions}

    def of(self, kind: Any, mode: JsonSchemaMode) -> dict[str, Any]:
        return cast("dict[str, Any]", _renamed(self._found[_key(kind, mode)]))

    def query(self, kind: type[BaseModel]) -> dict[str, Any]:
        schema = self.of(kind, "validation")
        return self.queries[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def _key(kind: Any, mode: JsonSchemaMode) -> tuple[Any, JsonSchemaMode]:
    return (repr(kind) if get_origin(kind) else kind), mode


def _types(operation: Operation) -> Iterable[tuple[Any, JsonSchemaMode]]:
    for name in ("query", "body"):
        if name in operation.parameters:
            yield operation.parameters[name], "validation"
    if _has_document(operation):
        yield operation.returns, "serialization"


def _has_document(operation: Operation) -> bool:
    return operation.status != HTTPStatus.NO_CONTENT and any(kind.endswith("json") for kind in operation.produces)


def _query_names(operations: Iterable[Operation]) -> set[str]:
    return {operation.parameters["query"].__name__ for operation in operations if "query" in operation.parameters}


def _clean(name: str) -> str:
    """`Page_InstanceItem_` -> `PageOfInstanceItem`, and names without the word Document, which says nothing to others."""
    name = re.sub(r"^Page_(\w+)_$", r"PageOf\1", name)
    return re.sub(r"(?<=\w)Document", "", name)


def _renamed_keys(definitions: dict[str, Any]) -> dict[str, Any]:
    made = {_clean(name): _renamed(schema) for name, schema in sorted(definitions.items())}
    if len(made) != len(definitions):
        names = [_clean(name) for name in definitions]
        twice = ", ".join(sorted({name for name in names if names.count(name) > 1}))
        raise ValueError(f"two models of the API have the same name: {twice}")
    for name, schema in made.items():
        if "title" in schema:
            schema["title"] = name
    return made


def _renamed(schema: Any) -> Any:
    """References follow the clean names; titles that only repeat the field's name go."""
    if isinstance(schema, list):
        return [_renamed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _renamed(value) for key, value in schema.items()}
    if isinstance(made.get("$ref"), str):
        prefix, _, name = made["$ref"].rpartition("/")
        made["$ref"] = f"{prefix}/{_clean(name)}"
    return made


# ---- one operation


def _operation(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": operation.name,
        "tags": list(operation.tags),
        "summary": operation.summary,
        "description": _description(operation),
        "parameters": _parameters(operation, schemas),
        "responses": _responses(operation, schemas),
    }
    if "body" in operation.parameters:
        content: dict[str, Any] = {"schema": schemas.of(operation.parameters["body"], "validation")}
        if operation.example is not None:
            content["example"] = operation.example
        made["requestBody"] = {"required": True, "content": dict.fromkeys(operation.accepts, content)}
    elif operation.method == "PUT" and not any(kind.endswith("json") for kind in operation.accepts):
        raw = {"schema": {"type": "string", "format": "binary"}}
        made["requestBody"] = {"required": True, "content": dict.fromkeys(operation.accepts, raw)}
    if operation.permission is None:
        asks = operation.method == "GET" and 401 in operation.problems
        made["security"] = [{}, {"bearer": []}, {"cookie": []}] if asks else []
    return {key: value for key, value in made.items() if value or key == "security"}


def _description(operation: Operation) -> str:
    needs = f"Needs the permission `{operation.permission}`." if operation.permission else ""
    return "\n\n".join(filter(None, (inspect.cleandoc(operation.description), needs)))


def _parameters(operation: Operation, schemas: _Schemas) -> list[dict[str, Any]]:
    made = [_path_parameter(name, operation.parameters[name]) for name in operation.path_names]
    if "query" in operation.parameters:
        made += [
            _query_parameter(name, item) for name, item in schemas.query(operation.parameters["query"])["properties"].items()
        ]
    made += [parameter for name, parameter in _HEADER_PARAMETERS.items() if name in operation.parameters]
    return [*made, _IF_NONE_MATCH] if operation.revalidates else made


_PATH_WORDS = {
    "path": "Path, with its slashes.",
    "kind": "Kind of claw.",
    "name": "Name.",
    "seq": "Place in the chain of the audit.",
}


def _path_parameter(name: str, kind: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if get_origin(kind) is typing.Literal:
        schema["enum"] = list(get_args(kind))
    words = _PATH_WORDS.get(name, f"Id of the {name.removesuffix('_id')}.")
    return {"name": name, "in": "path", "required": True, "description": words, "schema": schema}


def _query_parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    schema = {key: value for key, value in schema.items() if key != "title"}
    if "anyOf" in schema:  # null means absent, which a query string says by itself
        kinds = [item for item in schema.pop("anyOf") if item.get("type") != "null"]
        schema = {**schema, **(kinds[0] if len(kinds) == 1 else {"anyOf": kinds})}
        if schema.get("default", 0) is None:
            del schema["default"]
    words = schema.pop("description", "")
    return {"name": name, "in": "query", "required": False, "description": words, "schema": schema}


def _responses(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    good: dict[str, Any] = {"description": HTTPStatus(operation.status).phrase}
    if operation.status != HTTPStatus.NO_CONTENT:
        good["content"] = {kind: _content(operation, kind, schemas) for kind in operation.produces}
    headers = [
        name for name, there in (("ETag", operation.etag), ("Location", operation.etag and operation.status == 201)) if there
    ]
    if headers:
        good["headers"] = {name: _HEADERS[name] for name in headers}
    made = {str(operation.status): good}
    if operation.revalidates:
        good["headers"] = {"ETag": _HEADERS["Tag"]}
        made["304"] = {"$ref": f"#/components/responses/{_UNCHANGED}"}
    for status in sorted(_statuses(operation)):
        made[str(status)] = {"$ref": f"#/components/responses/{_response_name(status)}"}
    if operation.name == "readyz":
        made["503"] = {"description": "Some part does not work.", "content": good["content"]}
    return made


def _content(operation: Operation, kind: str, schemas: _Schemas) -> dict[str, Any]:
    if kind.endswith("yaml"):
        return {"schema": {"description": "A document in YAML."}}
    if not kind.endswith("json"):
        about = "Server-sent events; see the description." if kind == SSE else "Bytes." if kind in _BYTES else "Text."
        return {"schema": {"type": "string", "description": about}}
    content: dict[str, Any] = {"schema": schemas.of(operation.returns, "serialization")}
    if operation.answer_example is not None:
        content["example"] = operation.answer_example
    return content


def _statuses(operation: Operation) -> set[int]:
    """What follows from the parameters and the permission, and what the operation says itself."""
    made = set(operation.problems)
    if operation.permission is not None:
        made |= {401, 403}
    if "body" in operation.parameters:
        made |= {400, 415, 422}
    if "query" in operation.parameters:
        made.add(422)
    if "if_match" in operation.parameters:
        made.add(400)
    return made


def _response_name(status: int) -> str:
    return HTTPStatus(status).phrase.replace(" ", "").replace("-", "")


def _problem(status: int) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/Problem"}}
    if status == 422:
        content["example"] = _EXAMPLE_PROBLEM
    made: dict[str, Any] = {"description": PROBLEMS[status], "content": {PROBLEM: content}}
    extra = {429: "Retry-After", 401: "WWW-Authenticate"}.get(status)
    return made | ({"headers": {extra: _HEADERS[extra]}} if extra else {})
