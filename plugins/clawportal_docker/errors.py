"""What the engine answers, as verdicts: what may heal by itself is tried again, what cannot is given up with a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import docker.errors
import requests.exceptions
import urllib3.exceptions

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import Conflict, GiveUp, Retry, Unavailable
from clawportal.sdk.runtimes import Ref

BROKEN = (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, docker.errors.DockerException, OSError)
"""What a connection that ended can raise, whichever library noticed first."""


@contextmanager
def map_errors(ref: Ref | None = None, *, absent: str = "") -> Iterator[None]:
    """`absent`: the image's reference, where a 404 can only mean that it is missing."""
    who = str(ref) if ref else "The engine"
    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise _no_image(absent, error) from error
    except docker.errors.NotFound as error:
        if absent and "image" in str(error.explanation).lower():
            raise _no_image(absent, error) from error
        raise Retry(_n("Gone"), f"{who}: {error.explanation}", timedelta(seconds=1)) from error
    except docker.errors.APIError as error:
        raise _verdict(who, error) from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, docker.errors.DockerException) as error:
        raise Unavailable(_m("The container engine does not answer: %(_short)s", _short=_short(error))) from error


def _no_image(reference: str, error: docker.errors.APIError) -> Retry:
    return Retry(
        _n("ImageMissing"),
        _m("The image %(reference)s is no longer there; it is fetched again.", reference=reference or error.explanation),
    )


def _verdict(who: str, error: docker.errors.APIError) -> Exception:
    words = str(error.explanation or error)
    low = words.lower()
    if error.status_code == 409:
        return Conflict(f"{who}: {words}")
    if "container-init binary" in low:
        return GiveUp(_n("InitMissing"), f"{who}: {words}", _m("Install catatonit on the machine of Podman."))
    if "no space left" in low:
        return Retry(
            _n("DiskFull"), _m("%(who)s: the engine's disk is full. Free some space there: %(words)s", who=who, words=words)
        )
    if "executable file not found" in low or "no such file or directory: unknown" in low:
        return GiveUp(
            _n("CommandMissing"), f"{who}: {words}", _m("The image does not hold this claw; choose another image or version.")
        )
    if "already allocated" in low or "address already in use" in low:
        return Retry(_n("PortTaken"), f"{who}: {words}")
    if "is ambiguous" in low and "network" in low:
        return Retry(
            _n("NetworkTwice"),
            _m(
                "%(who)s: there are two networks of one name. It goes on when only the older one is left: %(words)s",
                who=who,
                words=words,
            ),
            timedelta(seconds=1),
        )
    if error.status_code is not None and 400 <= error.status_code < 500:
        return GiveUp(
            _n("EngineRefuses"),
            _m("%(who)s: the engine refuses: %(words)s", who=who, words=words),
            _m("Correct the settings of the cluster or instance."),
        )
    return Retry(_n("EngineError"), f"{who}: {words}")


def not_running(error: docker.errors.APIError) -> bool:
    """Whether a signal found nobody: Docker says 404 or 409, Podman 500 with these words."""
    return error.status_code in (404, 409) or "can only kill running containers" in str(error.explanation)


def innermost(error: BaseException) -> BaseException:
    """What it began with: the outer ones only name libraries."""
    inner = error
    while inner.__cause__ or inner.__context__:
        inner = inner.__cause__ or inner.__context__ or inner
    return inner


def nobody_there(error: BaseException) -> bool:
    return isinstance(innermost(error), FileNotFoundError | ConnectionRefusedError)


def _short(error: Exception) -> str:
    inner = innermost(error)
    if nobody_there(error):
        return _m("nobody listens at its address. Start the engine, or correct the address in the settings of the cluster")
    if isinstance(inner, PermissionError):
        return _m(
            "its socket is not for the portal. Add the portal's user to the group of the socket, and start the portal again"
        )
    return str(inner) or type(inner).__name__
