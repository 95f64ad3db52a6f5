"""How many requests somebody may make: counted for each user, token or address, and told in every answer."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, request
from flask.typing import ResponseReturnValue
from flask_limiter import Limiter, RateLimitExceeded, RequestLimit

from clawportal.errors import TooManyRequests
from clawportal.messages import _m

log = logging.getLogger(__name__)

_FREE = {"static", "healthz", "readyz", "api.healthz", "api.readyz"}
"""What supervisors ask must answer however busy somebody else is."""
REDIS_SECONDS = 0.5
"""A count takes less than a millisecond; whoever waits longer than this is better counted in memory."""


def init_app(app: Flask, asking: Callable[[], str]) -> None:
    """`asking` names who asks. Without Redis each process counts by itself, also while Redis does not answer."""
    limit = app.config["CLAWPORTAL_RATE_LIMIT"]
    if not limit:
        return
    limiter = Limiter(
        asking,
        app=app,
        application_limits=[limit],
        strategy="sliding-window-counter",
        storage_uri=app.config["RATELIMIT_STORAGE_URI"],
        storage_options=_patience(app.config["RATELIMIT_STORAGE_URI"]),
        in_memory_fallback_enabled=True,
    )
    limiter.request_filter(_free)

    @app.errorhandler(RateLimitExceeded)
    def _exceeded(_error: RateLimitExceeded) -> ResponseReturnValue:
        seconds = _seconds(limiter.current_limit) if limiter.current_limit else 60
        words = _m("That were too many requests. Wait %(seconds)s seconds, then go on more slowly.", seconds=seconds)
        return app.handle_user_exception(TooManyRequests(words, headers={"Retry-After": str(seconds)}))

    @app.after_request
    def _tell(answer: Response) -> Response:
        if limiter.current_limit is not None:
            try:
                answer.headers.update(_headers(limiter.current_limit))
            except Exception:  # Redis went away meanwhile; nobody needs these headers
                log.debug("the state of the limits cannot be told", exc_info=True)
        return answer


def _patience(storage: str) -> dict[str, Any]:
    """A Redis that hangs may hold up a request for a moment, not for the many seconds that its client would try."""
    if not storage.startswith("redis"):
        return {}
    try:
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise ValueError(_m("CLAWPORTAL_RATE_LIMIT_STORAGE names a Redis: install clawportal[redis].")) from error
    return {"socket_timeout": REDIS_SECONDS, "socket_connect_timeout": REDIS_SECONDS, "retry": Retry(NoBackoff(), 0)}


def _free() -> bool:
    return request.endpoint in _FREE


def _seconds(limit: RequestLimit) -> int:
    """From 1 to the length of the window, which a clock between two ticks must not exceed."""
    left = math.ceil(limit.reset_at - time.time())
    return min(max(left, 1), limit.limit.get_expiry())


def _headers(limit: RequestLimit) -> dict[str, str]:
    """The names of draft-ietf-httpapi-ratelimit-headers up to 07, which programs know."""
    return {
        "RateLimit-Limit": str(limit.limit.amount),
        "RateLimit-Remaining": str(limit.remaining),
        "RateLimit-Reset": str(_seconds(limit)),
        "RateLimit-Policy": f"{limit.limit.amount};w={limit.limit.get_expiry()}",
    }
