"""Signing in, tokens and passwords."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from pyotp import TOTP

from clawportal.contracts.permissions import SYSTEM, Actor
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, Invalid, NotFound, Unauthenticated
from clawportal.models import ApiToken, User
from clawportal.services.identity import accounts, identity, names, otp, sessions
from tests.core.world import World

PASSWORD = "correct horse battery"


def make(portal: Portal, name: str = "ann") -> User:
    return identity.create_user(portal, SYSTEM, name, PASSWORD, role="portal-admin")


def test_the_first_start_makes_one_administrator_once(still: World) -> None:
    with still.context() as portal:
        password = identity.first_start(portal)
        assert password and len(password) >= 16
        assert identity.first_start(portal) is None
        user = identity.authenticate(portal, "admin", password)
        assert user.must_change_password and user.last_login_at is not None
        assert password not in user.password_hash and user.password_hash.startswith("$argon2id$")


def test_a_wrong_name_costs_as_much_as_a_wrong_password(still: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same code path: one verification in each case, and the same words."""

    class Counting(PasswordHasher):
        calls = 0

        def verify(self, hash: str | bytes, password: str | bytes) -> bool:
            Counting.calls += 1
            return super().verify(hash, password)

    monkeypatch.setattr(identity, "_hasher", Counting(time_cost=1, memory_cost=8, parallelism=1))
    with still.context() as portal:
        make(portal, "ann")
        gone = make(portal, "bob")
        with transaction():
            db.session.get_one(User, gone.id).active = False
        said = set()
        for name, password in (("ann", "wrong password"), ("nobody", PASSWORD), ("bob", PASSWORD)):
            before = Counting.calls
            with pytest.raises(Unauthenticated) as told:
                identity.authenticate(portal, name, password)
            assert Counting.calls == before + 1
            said.add(told.value.detail)
        assert len(said) == 1
        assert identity.authenticate(portal, "ann", PASSWORD).name == "ann"


@pytest.mark.parametrize("name", ["", "x", "a b", "a\n", "<b>", "x" * 101])
def test_bad_names(still: World, name: str) -> None:
    with still.context() as portal, pytest.raises(Invalid):
        make(portal, name)


@pytest.mark.parametrize("password", ["", "short", "x" * 1001])
def test_bad_passwords(still: World, password: str) -> None:
    with still.context() as portal, pytest.raises(Invalid) as told:
        identity.create_user(portal, SYSTEM, "ann", password, role="portal-admin")
    assert told.value.errors[0].path == "password"


def test_a_taken_name(still: World) -> None:
    with still.context() as portal:
        make(portal)
        with pytest.raises(Invalid, match="already a user"):
            make(portal)


def test_a_new_password_ends_all_sessions(still: World) -> None:
    with still.context() as portal:
        user = make(portal)
        before = sessions.begin(portal, user, sessions.BROWSER, sessions.Place()).id
        assert sessions.actor_from(portal, before, sessions.BROWSER)
        with pytest.raises(Invalid) as told:
            identity.set_password(portal, SYSTEM, user.id, "another password", old="wrong password")
        assert told.value.errors[0].path == "old_password" and sessions.actor_from(portal, before, sessions.BROWSER)
        identity.set_password(portal, SYSTEM, user.id, "another password", old=PASSWORD)
        assert sessions.actor_from(portal, before, sessions.BROWSER) is None
        after = sessions.begin(portal, user, sessions.BROWSER, sessions.Place()).id
        assert sessions.actor_from(portal, after, sessions.BROWSER)
        identity.authenticate(portal, "ann", "another password")
        with pytest.raises(Unauthenticated):
            identity.authenticate(portal, "ann", PASSWORD)
        with pytest.raises(NotFound):
            identity.set_password(portal, SYSTEM, "nobody", "another password")


def test_tokens_expire_and_are_revoked(still: World, travel: Callable[[timedelta], None]) -> None:
    with still.context() as portal:
        user = make(portal)
        actor = identity.actor_of(portal, user)
        short, long = (identity.create_token(portal, actor, user.id, name, days) for name, days in (("short", 1), ("long", None)))
        assert short.text.startswith("clp_") and short.text != long.text
        stored = db.session.get_one(ApiToken, short.row.id)
        assert short.text not in (stored.token_hash, stored.prefix) and short.text.startswith(stored.prefix)
        for text in (short.text, long.text):
            found = identity.actor_from_token(portal, text)
            assert found and found.kind == "token" and found.name == "ann"
        travel(timedelta(days=1, seconds=1))
        assert identity.actor_from_token(portal, short.text) is None
        assert identity.actor_from_token(portal, long.text)
        with pytest.raises(NotFound):
            identity.revoke_token(portal, actor, "somebody-else", long.row.id)
        identity.revoke_token(portal, actor, user.id, long.row.id)
        assert identity.actor_from_token(portal, long.text) is None
        with pytest.raises(Conflict):
            identity.revoke_token(portal, actor, user.id, long.row.id)
        assert [row.name for row in identity.list_tokens(user.id)] == ["short"]
        for text in ("", "clp_", "clp_unknown", long.text[:-1]):
            assert identity.actor_from_token(portal, text) is None


def test_tokens_of_somebody_who_left(still: World) -> None:
    with still.context() as portal:
        user = make(portal)
        token = identity.create_token(portal, SYSTEM, user.id, "t", None)
        session = sessions.begin(portal, user, sessions.BROWSER, sessions.Place()).id
        with transaction():
            db.session.get_one(User, user.id).active = False
        assert identity.actor_from_token(portal, token.text) is None
        assert sessions.actor_from(portal, session, sessions.BROWSER) is None


@pytest.mark.parametrize(("name", "days"), [("", None), ("x" * 101, None), ("t", 0), ("t", 3651)])
def test_bad_tokens(still: World, name: str, days: int | None) -> None:
    with still.context() as portal:
        user = make(portal)
        with pytest.raises(Invalid):
            identity.create_token(portal, Actor(user.id, "ann"), user.id, name, days)


def test_the_last_use_is_kept_to_the_minute(still: World, travel: Callable[[timedelta], None]) -> None:
    with still.context() as portal:
        user = make(portal)
        token = identity.create_token(portal, SYSTEM, user.id, "t", None)
        identity.actor_from_token(portal, token.text)
        first = db.session.get_one(ApiToken, token.row.id).last_used_at
        identity.actor_from_token(portal, token.text)
        assert db.session.get_one(ApiToken, token.row.id, populate_existing=True).last_used_at == first
        travel(timedelta(minutes=2))
        identity.actor_from_token(portal, token.text)
        assert db.session.get_one(ApiToken, token.row.id, populate_existing=True).last_used_at != first


def test_a_plugin_that_fails_to_grant_locks_nobody_out(still: World, caplog: pytest.LogCaptureFixture) -> None:
    from types import ModuleType

    from clawportal import hookimpl

    def actor_grants(actor_id: str) -> list[object]:
        raise RuntimeError("the directory does not answer")

    module = ModuleType("broken_directory")
    module.actor_grants = hookimpl(actor_grants)  # type: ignore[attr-defined]  # a module made here
    with still.context() as portal:
        portal.registry.add("broken_directory", module)
        portal.registry.settle()
        user = make(portal)
        assert identity.actor_of(portal, user).grants
    assert "broken_directory" in caplog.text and "does not answer" in caplog.text


def test_names_that_others_give_become_names_of_here(still: World) -> None:
    with still.context() as portal:
        make(portal, "ann")
        found = [names.free(said, "sso") for said in ("Ann", "bea", "Ünal Çelik", "аdmin", "x", "01h2xcejqtf2nbrexx3vqjhp41")]
    assert found[:3] == ["Ann-2", "bea", "Ünal-Çelik"] and found[4:] == ["sso-x", "sso-01h2xcejqtf2nbrexx3vqjhp41"]
    assert re.fullmatch("sso-[0-9a-f]{10}", found[3]), "it looks like somebody else"


def test_ways_in_of_whoever_had_the_account_end(still: World) -> None:
    with still.context() as portal:
        user = make(portal, "ann@example.com")
        actor = identity.actor_of(portal, user)
        otp.enable(portal, actor, TOTP(otp.generate(portal, actor).secret).now(), "")
        token = identity.create_token(portal, actor, user.id, "mine", None).text
        session = sessions.begin(portal, user, sessions.BROWSER, sessions.Place()).id
        assert [found.id for found in names.of_address("ANN@example.com")] == [user.id] and not names.of_address("an@example.com")
        with transaction():
            accounts.end_ways_in(portal, user)
        with pytest.raises(Unauthenticated):
            identity.authenticate(portal, user.name, PASSWORD)
        assert not otp.enabled(user.id) and identity.actor_from_token(portal, token) is None
        assert sessions.actor_from(portal, session, sessions.BROWSER) is None
