"""Answers that prove nothing: of other browsers and other providers, used twice, forged, or too late."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.sign_in.conftest import ELSEWHERE
from tests.single_sign_on.oidc_provider import CLIENT
from tests.single_sign_on.scene import Make, Scene

pytestmark = [pytest.mark.oidc, pytest.mark.xdist_group("oidc")]


def test_a_state_that_is_not_ours(scene: Scene, make_browser: Make) -> None:
    url = scene.there.sign_in(scene.begin())
    other = make_browser(ELSEWHERE)
    assert scene.back(url, other).headers["Location"] == "/login" and not other.signed_in  # login CSRF: it began elsewhere
    assert "did not begin in this browser" in scene.refused(scene.back(re.sub("state=[^&]+", "state=made-up", url)))
    assert scene.refusals() and "did not begin" in scene.refusals()[0]


def test_an_answer_works_once(scene: Scene) -> None:
    url = scene.there.sign_in(scene.begin())
    cookie = scene.browser.client.get_cookie("clawportal")
    assert cookie and scene.back(url).status_code == 303 and scene.browser.signed_in
    scene.browser.post("/logout")
    assert "did not begin in this browser" in scene.refused(scene.back(url))
    # even with the cookie of back then the provider does not take the code again
    scene.browser.client.set_cookie("clawportal", cookie.value)
    assert "used already" in scene.refused(scene.back(url))


def test_a_code_of_somebody_else_does_not_fit(scene: Scene, make_browser: Make) -> None:
    """PKCE: the code of one sign-in cannot be put into another."""
    other = make_browser(ELSEWHERE)
    stolen = parse_qs(urlsplit(scene.there.sign_in(scene.begin(browser=other))).query)["code"][0]
    mine = scene.there.sign_in(scene.begin())
    assert "used already" in scene.refused(scene.back(re.sub("code=[^&]+", f"code={stolen}", mine)))


WRONG: dict[str, dict[str, Any]] = {
    "nonce": {"claims": {"nonce": "of another sign-in"}},
    "no nonce": {"without": ["nonce"]},
    "audience": {"claims": {"aud": "another-client"}},
    "two audiences without azp": {"claims": {"aud": [CLIENT, "another-client"]}},
    "issuer": {"claims": {"iss": "https://evil.example"}},
    "expired": {"claims": {"exp": 1_000_000_000}},
    "no expiry": {"without": ["exp"]},
    "of the future": {"claims": {"iat": 4_000_000_000}},
    "subject": {"claims": {"sub": ""}},
    "unsigned": {"alg": "none"},
    "signed with the client secret": {"alg": "HS256"},
    "unknown key": {"kid": "nobody-knows"},
}


def test_a_wrong_id_token_is_refused(scene: Scene) -> None:
    for name, how in WRONG.items():
        scene.there.mangle(**how)
        told = scene.refused(scene.come())
        assert "not good" in told or "whose account" in told, name
        assert scene.user() is None, name
    assert scene.refusals()
    scene.there.mangle(claims={})
    assert scene.come().status_code == 303 and scene.browser.signed_in


def test_clocks_may_differ_a_little(scene: Scene) -> None:
    now = int(time.time())
    scene.there.mangle(claims={"exp": now - 20, "iat": now + 20})
    scene.come()
    assert scene.browser.signed_in


def test_an_answer_that_names_another_issuer(scene: Scene) -> None:
    url = scene.there.sign_in(scene.begin())
    assert "another provider" in scene.refused(scene.back(re.sub("iss=[^&]+", "iss=https%3A%2F%2Fevil.example", url)))


def test_a_new_key_of_the_provider_is_picked_up(scene: Scene) -> None:
    scene.come()
    scene.there.rotate()
    scene.browser.post("/logout")
    scene.come()
    assert scene.browser.signed_in


def test_it_took_too_long(scene: Scene, travel: Callable[[timedelta], None]) -> None:
    url = scene.there.sign_in(scene.begin())
    travel(timedelta(minutes=16))
    assert "took too long" in scene.refused(scene.back(url))


def test_the_cookie_shows_nothing_and_cannot_be_made(scene: Scene) -> None:
    scene.begin()
    with scene.browser.client.session_transaction() as session:
        sealed = next(iter(session["oidc"].values()))
        session["oidc"] = {"state-of-mine": sealed}
    assert "verifier" not in sealed
    answer = scene.browser.get("/login/oidc/test/callback?state=state-of-mine&code=x")
    assert "did not begin" in scene.refused(answer)


def test_guessing_is_slowed_down(scene: Scene) -> None:
    for _ in range(100):
        scene.browser.get("/login/oidc/test/callback?state=x&code=y")
    url = scene.there.sign_in(scene.begin())
    assert "Too many wrong sign-ins" in scene.refused(scene.back(url))
    scene.browser.address = ELSEWHERE
    assert scene.come().status_code == 303 and scene.browser.signed_in  # nobody elsewhere is locked out
