"""Reads a kubeconfig into a document that needs nothing but itself: no file, no program, certificates as PEM."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from clawportal.sdk import certificates

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
        raise ValueError(f"is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or not {"clusters", "users", "contexts"} <= found.keys():
        raise ValueError("is no kubeconfig: it must hold clusters, users and contexts.")
    if not all(isinstance(found[key], list) and all(map(_named, found[key])) for key in ("clusters", "users", "contexts")):
        raise ValueError("is no kubeconfig: clusters, users and contexts must be lists of named entries.")
    found.setdefault("current-context", "")
    return found


def context_of(document: Json, wanted: str) -> str:
    """The name of the context to use. ValueError where there is none."""
    known = [item["name"] for item in document["contexts"]]
    context = wanted or document["current-context"]
    if not context:
        raise ValueError(f"is needed: the kubeconfig has no current context. It knows {', '.join(known)}.")
    if context not in known:
        raise ValueError(f"{context!r} is not in the kubeconfig. It knows {', '.join(known) or 'none'}.")
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
            raise ValueError(f"has no {part} {wanted!r}, which its context {context!r} names.")
        given |= _self_contained(entry)
        if part == "cluster" and not str(entry.get("server", "")).startswith(("https://", "http://")):
            raise ValueError(f"names no server for the cluster {wanted!r}.")
    ca, certificate, key = (given.get(name, "") for name in _DATA)
    if bool(certificate) != bool(key):
        there, missing = ("client-certificate", "client-key") if certificate else ("client-key", "client-certificate")
        raise ValueError(f"holds a {there}-data without a {missing}-data. Use the output of: kubectl config view --raw --flatten")
    return Access(document, ca, certificate, key)


def _named(item: object) -> bool:
    return isinstance(item, dict) and isinstance(item.get("name"), str)


def _self_contained(entry: Json) -> dict[str, str]:
    """Its certificates, taken out. Files and programs of the portal's machine are not for whoever may edit a cluster."""
    for key in _FILES:
        if entry.get(key):
            raise ValueError(f"names a file ({key}) of another machine. Use the output of: kubectl config view --raw --flatten")
    for key in ("exec", "auth-provider"):
        if entry.get(key):
            raise ValueError(
                f"gets its credentials from a program ({key}), which the portal does not run. "
                "Use the token of a ServiceAccount; docs/kubernetes.md shows how."
            )
    return {key: _taken(entry, key) for key in _DATA if key in entry}


def _taken(entry: Json, key: str) -> str:
    value = entry.pop(key)
    try:
        return _DATA[key](str(value or ""))
    except ValueError as error:
        raise ValueError(f"holds a {key} that cannot be used: it {error}.") from error
