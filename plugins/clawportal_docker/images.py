"""Fetches images, with the progress that the engine tells layer by layer."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import docker
import docker.errors

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp, Retry
from clawportal.sdk.runtimes import Progress
from clawportal_docker.errors import BROKEN, map_errors

_DENIED = ("denied", "unauthorized", "authentication required")
_ABSENT = ("not found", "manifest unknown", "does not exist", "no such image")


def present(client: docker.APIClient, reference: str) -> bool:
    try:
        client.inspect_image(reference)
    except docker.errors.ImageNotFound:
        return False
    return True


def pull(client: docker.APIClient, reference: str, progress: Progress) -> None:
    """Returns when the image is there. The client is closed; closing the stream in between ends the download."""
    repository, tag = split(reference)
    progress(None, _m("Fetching %(reference)s", reference=reference))
    layers: dict[str, tuple[int, int]] = {}
    try:
        with map_errors():
            try:
                stream = client.pull(repository, tag=tag, stream=True, decode=True)
                for step in stream:
                    _look(reference, step)
                    progress(*_progress(reference, layers, step))
            except docker.errors.APIError as error:
                raise _refused(reference, str(error.explanation or error)) from error
    finally:
        with suppress(*BROKEN):
            client.close()


def split(reference: str) -> tuple[str, str]:
    """Repository, and tag or digest."""
    if "@" in reference:
        repository, _, digest = reference.partition("@")
        return repository, digest
    head, _, last = reference.rpartition("/")
    name, _, tag = last.partition(":")
    return (f"{head}/{name}" if head else name), tag or "latest"


def _look(reference: str, step: dict[str, Any]) -> None:
    if "error" in step:
        raise _refused(reference, str(step["error"]))


def _refused(reference: str, words: str) -> Exception:
    if _means(words, _DENIED) or _means(words, _ABSENT):
        return GiveUp(
            _n("ImageNotFound"),
            _m("The image %(reference)s cannot be fetched: %(words)s", reference=reference, words=words),
            _m(
                "Correct the image in the settings of the cluster, build it there, or sign in: docker login as the portal's user."
            ),
        )
    return Retry(
        _n("ImagePullFailed"), _m("The image %(reference)s cannot be fetched now: %(words)s", reference=reference, words=words)
    )


def _means(words: str, signs: tuple[str, ...]) -> bool:
    low = words.lower()
    return any(sign in low for sign in signs)


def _progress(reference: str, layers: dict[str, tuple[int, int]], step: dict[str, Any]) -> tuple[float | None, str]:
    """Layers whose size is known count by their bytes; half of the way is for unpacking them."""
    detail, layer, status = step.get("progressDetail") or {}, step.get("id", ""), step.get("status", "")
    if detail.get("total"):
        half = detail["total"] if status == "Extracting" else 0
        layers[layer] = (half + int(detail.get("current", 0)), 2 * int(detail["total"]))
    elif layer in layers and status in ("Pull complete", "Already exists"):
        layers[layer] = (layers[layer][1], layers[layer][1])
    done, whole = sum(now for now, _ in layers.values()), sum(total for _, total in layers.values())
    return (done / whole if whole else None), (
        _m("Fetching %(reference)s (%(size)s MiB)", reference=reference, size=whole // 2 >> 20)
        if whole
        else _m("Fetching %(reference)s", reference=reference)
    )
