"""Answers that a reader may have already: a tag of what is said; whoever names the same one gets 304 without the body."""

from __future__ import annotations

import hashlib

from flask import Response, request

KEPT = "private, no-cache"
"""A browser may keep it, and has to ask each time whether it is still true."""


def revalidated(answer: Response, *, keep: bool = False) -> Response:
    """Give a complete answer to a GET its ETag, and leave its body out when If-None-Match has the same.

    The tag is of the bytes: it changes with all that this reader would see, as the language and rights of others change what is
    said. It is weak, as proxies may compress the answer, and so can never be taken for the generation that If-Match asks for.
    `keep`: nothing in it is private, so that browsers may keep it.
    """
    if answer.status_code != 200:
        return answer
    answer.set_etag(hashlib.blake2b(answer.get_data(), digest_size=12).hexdigest(), weak=True)
    if keep:
        answer.headers["Cache-Control"] = KEPT
    answer.make_conditional(request)
    return answer
