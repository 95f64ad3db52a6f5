"""Reads of long lists only what the portal keeps: the rest of a page, most of it, never becomes an object of Python.

A page of `managedFields` and pod templates costs three times as much to read as what is wanted of it. What is read has the
very form of the whole, so that `explain` takes both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from pydantic_core import SchemaValidator
from pydantic_core import core_schema as s

from clawportal_kubernetes import names

Json = dict[str, Any]

OWN_MANAGERS = (names.MANAGER, "kube-controller-manager", "kube-scheduler", "kubelet", "kube-apiserver")
"""Those that may change an object without anybody having meddled."""

_ANY = s.any_schema()


def _only(**fields: s.CoreSchema) -> s.CoreSchema:
    """An object or null, of which nothing but these fields is kept, where they are there."""
    kept = {name: s.typed_dict_field(schema, required=False) for name, schema in fields.items()}
    return s.nullable_schema(s.typed_dict_schema(kept))


def _each(item: s.CoreSchema) -> s.CoreSchema:
    return s.nullable_schema(s.list_schema(item))


def _anything(*fields: str) -> dict[str, s.CoreSchema]:
    return dict.fromkeys(fields, _ANY)


def _page(item: s.CoreSchema) -> Callable[[bytes], Json]:
    read = SchemaValidator(_only(metadata=_ANY, items=_each(item))).validate_json
    return cast(Callable[[bytes], Json], read)


_META = ("uid", "name", "namespace", "resourceVersion", "generation", "labels", "annotations", "creationTimestamp",
         "deletionTimestamp")  # fmt: skip
_OWN_ENTRY = s.typed_dict_schema({"manager": s.typed_dict_field(s.literal_schema(list(OWN_MANAGERS)))})
_ENTRY = s.union_schema([_OWN_ENTRY, _only(**_anything("manager", "subresource", "fieldsV1"))], mode="left_to_right")
_CONTAINERS = _each(_only(**_anything("name", "state", "lastState", "restartCount")))

pods = _page(_only(
    metadata=_only(**_anything(*_META)),
    spec=_only(nodeName=_ANY, containers=_each(_only(name=_ANY))),
    status=_only(
        **_anything("phase", "reason", "message", "podIP"),
        conditions=_each(_only(**_anything("type", "status", "reason", "message", "lastTransitionTime"))),
        initContainerStatuses=_CONTAINERS, containerStatuses=_CONTAINERS,
    ),
))  # fmt: skip
"""A page of pods."""

stateful_sets = _page(
    _only(
        metadata=_only(**_anything(*_META), managedFields=_each(_ENTRY)),
        spec=_only(replicas=_ANY),
        status=_only(**_anything("observedGeneration", "updateRevision")),
    ),
)
"""A page of StatefulSets; which fields own managers have is not kept."""
