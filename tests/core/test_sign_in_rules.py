"""Signing in on SQLite and on PostgreSQL: what only one of two simultaneous requests may get."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from pyotp import TOTP

from clawportal import clock
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db
from clawportal.errors import TooManyRequests, Unauthenticated
from clawportal.models import ApiToken, WrongTries
from clawportal.services.identity import clients, identity, otp, sessions, sign_in, throttle
from clawportal.services.identity.sessions import Place
from clawportal.services.rights.token_limits import Limits
from tests.core.world import World

PASSWORD = "correct horse battery"
HERE = Place("192.0.2.7", "tests")


def at_once(world: World, times: int, ask: Callable[[], object]) -> list[str]:
    """What each of several threads got: `ok`, or the name of the refusal."""

    def one(_number: int) -> str:
        with world.context():
            try:
                ask()
            except Exception as problem:
                return type(problem).__name__
            return "ok"

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(one, range(times)))


def test_simultaneous_tries(both: World) -> None:
    with both.context() as portal:
        user = identity.create_user(portal, SYSTEM, "ann", PASSWORD, role="portal-admin")
        pair = clients.sign_in(portal, user, HERE)
        actor = identity.actor_of(portal, user)
        offer = otp.generate(portal, actor)
        now = int(clock.now().timestamp()) // 30
        codes = otp.enable(portal, actor, TOTP(offer.secret).generate_otp(now - 1), HERE.address)
        assert otp.status(user.id).backup_codes_left == 10
        fresh = TOTP(offer.secret).generate_otp(now + 1)
    portal = both.portal
    for code in (fresh, codes[0]):
        got = at_once(both, 4, partial(sign_in.both_steps, portal, "ann", PASSWORD, code, HERE.address))
        assert got.count("ok") == 1 and set(got) <= {"ok", "OtpWrong", "TooManyRequests"}, got
    got = at_once(both, 4, lambda: clients.refresh(portal, pair.refresh_token, HERE))
    assert got.count("ok") == 1 and set(got) == {"ok", "Unauthenticated"}, got
    with both.context():
        assert clients.actor_from_access(portal, pair.access_token) is None  # it was used twice, so the session is over
    got = at_once(both, 6, lambda: sign_in.first_step(portal, "bob", "wrong", "198.51.100.9"))
    with both.context():
        counted = db.session.get(WrongTries, ("password", throttle.subject_of("bob"), "198.51.100.9"))
        assert set(got) <= {"Unauthenticated", "TooManyRequests"} and counted
        assert counted.failures == got.count("Unauthenticated")


def test_the_rest(both: World, travel: Callable[[timedelta], None]) -> None:
    with both.context() as portal:
        user = identity.create_user(portal, SYSTEM, "ann", PASSWORD, role="portal-admin")
        actor = identity.actor_of(portal, user)
        limits = Limits(("self",), ("192.0.2.0/24",))
        limited = identity.create_token(portal, actor, user.id, "limited", None, limits=limits)
        whole = identity.create_token(portal, actor, user.id, "whole", None)
        assert db.session.query(ApiToken).filter(ApiToken.scopes.is_(None)).one().id == whole.row.id
        found = identity.actor_from_token(portal, limited.text, "192.0.2.9")
        assert found and {str(right) for grant in found.grants for right in grant.permissions} == {"self"}
        assert identity.actor_from_token(portal, limited.text) is None
        begun = [sessions.begin(portal, user, sessions.BROWSER, HERE).id for _ in range(3)]
        assert [info.current for info in sessions.listing(user.id, begun[1])] == [True, False, False]
        assert sessions.end_others(portal, actor, begun[1]) == 2
        assert sessions.actor_from(portal, begun[1], sessions.BROWSER, touch=HERE)
        for _ in range(10):
            with pytest.raises(Unauthenticated):
                sign_in.first_step(portal, "ann", "wrong", "198.51.100.9")
        with pytest.raises(TooManyRequests):
            sign_in.first_step(portal, "ann", PASSWORD, "198.51.100.9")
        assert throttle.unlock(portal, "ann") == 1
        assert sign_in.first_step(portal, "ann", PASSWORD, "198.51.100.9").id == user.id
        travel(timedelta(days=40))
        sessions.forget_old()
        throttle.forget_old()
        assert sessions.listing(user.id, None) == []
