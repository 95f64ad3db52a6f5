"""Host names of one's own: a feature names a function in `extra[OTHER_HOSTS]` that makes an `OtherHost` of the portal's app.

    class Docs:
        def takes(self, environ):
            return environ.get("HTTP_HOST", "") == "docs.example.com"

        def __call__(self, environ, start_response):
            with asked_from(self.app, environ) as portal:
                ...

Nothing that the portal does for its own pages is done for these: who asks is said by `Bearer`s, which one seals into a cookie of
the host and asks again by `behind`. An answer that takes long takes a place with `place_for`. A connection that goes on without a
thread is taken over by `take_over`; the application then raises `over(environ)`.
"""

from __future__ import annotations

from clawportal.contracts.extensions import OTHER_HOSTS, OtherHost
from clawportal.http.front import origin_of, own_origin
from clawportal.http.hosts import asked_from, place_for
from clawportal.http.security import bearer, behind
from clawportal.http.site import home as portal_url
from clawportal.http.streams import over, take_over
from clawportal.keyring import KeyringError
from clawportal.services.identity.identity import actor_by_id
from clawportal.services.identity.sessions import Place
from clawportal.services.live.tickets import Bearer

__all__ = [
    "OTHER_HOSTS",
    "Bearer",
    "KeyringError",
    "OtherHost",
    "Place",
    "actor_by_id",
    "asked_from",
    "bearer",
    "behind",
    "origin_of",
    "over",
    "own_origin",
    "place_for",
    "portal_url",
    "take_over",
]
