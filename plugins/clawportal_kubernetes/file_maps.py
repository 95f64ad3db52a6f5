"""The files of a workload as ConfigMaps that are named by what is in them, so that none is ever changed."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp
from clawportal.sdk.runtimes import Ref, Workload
from clawportal_kubernetes import names, scripts
from clawportal_kubernetes.manifests import Json, Named, mount, namespaced, odd_to

if TYPE_CHECKING:
    from clawportal_kubernetes.settings import KubernetesSettings

MAP_LIMIT = 900_000
"""Bytes in one ConfigMap; the API server takes a little over a million."""


@dataclass(frozen=True)
class Files:
    """The files of a workload as ConfigMaps with names by their content."""

    maps: tuple[tuple[str, Json], ...]
    """Name and data."""
    contents: Mapping[str, bytes]
    """Everything by its key, with `place.sh`."""


def files_of(settings: KubernetesSettings, ref: Ref, name: str, workload: Workload) -> Files:
    scripts.check_planned(workload.files)
    keys = [f"{place:03d}-{odd_to(f'{file.root}.{file.path}', 120)}" for place, file in enumerate(workload.files)]
    script = scripts.place(workload.files, keys, f"{mount(settings, ref)}/data")
    texts = {"place.sh": script} | {key: file.content for key, file in zip(keys, workload.files, strict=True)}
    groups: list[dict[str, str]] = [{}]
    room = MAP_LIMIT
    for key, text in texts.items():
        size = len(text.encode()) + len(key)
        if size > MAP_LIMIT:
            raise GiveUp(
                _n("FileTooLarge"),
                _m(
                    "The file %(key)s has %(size)s bytes; Kubernetes takes %(MAP_LIMIT)s at most.",
                    key=key,
                    size=f"{size:,}",
                    MAP_LIMIT=f"{MAP_LIMIT:,}",
                ),
                _m("Make it smaller, or push it into the running claw."),
            )
        if size > room:
            groups.append({})
            room = MAP_LIMIT
        groups[-1][key] = text
        room -= size
    maps = []
    for group in groups:
        digest = hashlib.sha256(json.dumps(group, sort_keys=True).encode()).hexdigest()[:10]
        maps.append((f"{name}-files-{digest}", _data(group)))
    return Files(tuple(maps), {key: text.encode() for key, text in texts.items()})


def _data(group: Mapping[str, str]) -> Json:
    """Text as text, for people; what YAML could not show as bytes."""
    plain = {key: text for key, text in group.items() if "\0" not in text}
    odd = {key: base64.b64encode(text.encode()).decode() for key, text in group.items() if "\0" in text}
    return ({"data": plain} if plain else {}) | ({"binaryData": odd} if odd else {})


def config_maps(place: str, ref: Ref, space: str, name: str, files: Files) -> list[Named]:
    labels = names.labels(place, ref, name)
    return [
        namespaced("v1", "ConfigMap", "configmaps", space, title, labels, immutable=True, **data) for title, data in files.maps
    ]
