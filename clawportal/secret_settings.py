"""Settings that are secrets: which they are, what is wrong with what people typed, and whether one would go somewhere else."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from clawportal import addresses, pasted
from clawportal.errors import FieldError
from clawportal.messages import _m


@functools.lru_cache(maxsize=256)
def secret_fields(model: type[BaseModel]) -> tuple[str, ...]:
    """Names of the settings that are secrets: they are taken out of the spec and kept encrypted."""
    return tuple(name for name, schema in model.model_json_schema().get("properties", {}).items() if schema.get("x-secret"))


@functools.lru_cache(maxsize=256)
def unique_fields(model: type[BaseModel]) -> Mapping[str, str]:
    """Settings, secret ones too, that two claws must not have alike, with the reason as the adapter says it."""
    properties = model.model_json_schema().get("properties", {})
    return {name: schema["x-unique"] for name, schema in properties.items() if schema.get("x-unique")}


@functools.lru_cache(maxsize=256)
def long_secrets(model: type[BaseModel]) -> frozenset[str]:
    """Secrets of several lines, such as certificates; all others end in the header of a request, mostly."""
    properties = model.model_json_schema().get("properties", {})
    return frozenset(name for name, schema in properties.items() if schema.get("x-widget") == "textarea")


def credentials_inside(prefix: str, document: Any) -> Iterator[FieldError]:
    """Addresses in what people typed that have a user or a password inside."""
    if isinstance(document, str):
        if addresses.carries_credentials(document):
            words = _m("must not have a user or a password inside; enter the key in its own field, where it is kept encrypted")
            yield FieldError(prefix, words, "credentials")
    elif isinstance(document, Mapping):
        for name, value in document.items():
            yield from credentials_inside(f"{prefix}.{name}" if prefix else str(name), value)
    elif isinstance(document, list | tuple):
        for value in document:
            yield from credentials_inside(prefix, value)


def header_flaws(model: type[BaseModel], values: dict[str, str]) -> list[FieldError]:
    """Takes blanks around keys and tokens off in `values`; finds letters inside that no request can carry."""
    errors = []
    for name in values.keys() - long_secrets(model):
        values[name] = pasted.key(values[name], name).text
        if flaw := pasted.flaw_in_header(values[name]):
            errors.append(FieldError(f"secrets.{name}", flaw))
    return errors


def moved(
    stored: Mapping[str, str | None], now: Mapping[str, str], given: Collection[str], free: Collection[str] = ()
) -> Iterator[FieldError]:
    """Stored secrets that would go to another address than they were entered for, and were not entered again.

    `free`: destinations that need no secret.
    """
    for name, before in stored.items():
        there = now.get(name, before)
        if name not in given and before is not None and there != before and there not in free:
            yield asked_again(f"secrets.{name}", before, there or "")


def asked_again(path: str, before: str, now: str) -> FieldError:
    was, goes = _called(before), _called(now)
    return FieldError(
        path, _m("was entered for %(was)s, and this goes to %(goes)s. Enter the one for there.", was=was, goes=goes), "moved"
    )


def _called(destination: str) -> str:
    """The address; with the provider in front where that alone says it."""
    provider, _, address = destination.partition(" ")
    return address or provider or "another address"
