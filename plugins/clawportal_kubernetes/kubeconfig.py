"""Reads a kubeconfig into a document that needs nothing but itself: no file, no program, certificates as PEM."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from clawportal.sdk import _m, certificates

Json = dict[str, Any]
_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
_DATA: Mapping[str, Callable[[str], str]] = {
    "certificate-authority-data": certificates.certificates,
    "client-certificate-data": certificates.certificates,
    "client-key-data": certificates.private_key,
}


@dataclass(frozen=True)
class Access:
    """What one context of a kubeconfig says."""

    document: Json
    """Without its certificates and keys: they are never handed to what would write them into files."""
    ca: str
    certificate: str
    key: str


def read(text: str) -> Json:
    """The document with the form of a kubeconfig. ValueError says what is wrong."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(_m("is no YAML: %(join)s", join=" ".join(str(error).split()))) from error
    if not isinstance(found, dict) or not {"clusters", "users", "contexts"} <= found.keys():
        raise ValueError(_m("is no kubeconfig: it must hold clusters, users and contexts."))
    if not all(isinstance(found[key], list) and all(map(_named, found[key])) for key in ("clusters", "users", "contexts")):
        raise ValueError(_m("is no kubeconfig: clusters, users and contexts must be lists of named entries."))
    found.setdefault("current-context", "")
    return found


def context_of(document: Json, wanted: str) -> str:
    """The name of the context to use. ValueError where there is none."""
    known = [item["name"] for item in document["contexts"]]
    context = wanted or document["current-context"]
    if not context:
        raise ValueError(_m("is needed: the kubeconfig has no current context. It knows %(join)s.", join=[*known]))
    if context not in known:
        raise ValueError(
            _m(
                "%(context)s is not in the kubeconfig. It knows %(join)s.",
                context=repr(context),
                join=[*known] or _m("none"),
            )
        )
    return str(context)


def access(document: Json, context: str) -> Access:
    """What a context needs. ValueError names what it lacks, or what the portal does not take."""
    document = copy.deepcopy(document)
    said = next(item.get("context") or {} for item in document["contexts"] if item["name"] == context)
    given: dict[str, str] = {}
    for part, key in (("cluster", "clusters"), ("user", "users")):
        wanted = said.get(part)
        entry = next((item.get(part) or {} for item in document[key] if item["name"] == wanted), None)
        if entry is None:
            raise ValueError(
                _m(
                    "has no %(part)s %(wanted)s, which its context %(context)s names.",
                    part=part,
                    wanted=repr(wanted),
                    context=repr(context),
                )
            )
        given |= _self_contained(entry)
        if part == "cluster" and not str(entry.get("server", "")).startswith(("https://", "http://")):
            raise ValueError(_m("names no server for the cluster %(wanted)s.", wanted=repr(wanted)))
    ca, certificate, key = (given.get(name, "") for name in _DATA)
    if bool(certificate) != bool(key):
        there, missing = ("client-certificate", "client-key") if certificate else ("client-key", "client-certificate")
        raise ValueError(
            _m(
                "holds a %(there)s-data without a %(missing)s-data. Use the output of: kubectl config view --raw --flatten",
                there=there,
                missing=missing,
            )
        )
    return Access(document, ca, certificate, key)


def _named(item: object) -> bool:
    return isinstance(item, dict) and isinstance(item.get("name"), str)


def _self_contained(entry: Json) -> dict[str, str]:
    """Its certificates, taken out. Files and programs of the portal's machine are not for whoever may edit a cluster."""
    for key in _FILES:
        if entry.get(key):
            raise ValueError(
                _m("names a file (%(key)s) of another machine. Use the output of: kubectl config view --raw --flatten", key=key)
            )
    for key in ("exec", "auth-provider"):
        if entry.get(key):
            raise ValueError(
                _m(
                    "gets its credentials from a program (%(key)s), which the portal does not run. Use the "
                    "token of a ServiceAccount; docs/kubernetes.md shows how.",
                    key=key,
                )
            )
    return {key: _taken(entry, key) for key in _DATA if key in entry}


def _taken(entry: Json, key: str) -> str:
    value = entry.pop(key)
    try:
        return _DATA[key](str(value or ""))
    except ValueError as error:
        raise ValueError(_m("holds a %(key)s that cannot be used: it %(error)s.", key=key, error=error)) from error
