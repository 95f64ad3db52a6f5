"""The client secret of a provider: it goes nowhere else, moves to new keys, and is asked for again where it opens no more."""

from __future__ import annotations

import pytest

from clawportal import keyring
from clawportal.cli import keys
from clawportal.contracts.permissions import SYSTEM
from clawportal.errors import Invalid
from clawportal.paths import KEYRING_FILE
from clawportal_sso import providers
from clawportal_sso.documents import ProviderDown
from clawportal_sso.wanted import Wanted
from tests.conftest import People, Person, portal_of
from tests.core.world import World


def test_a_client_secret_stays_with_its_issuer(people: People) -> None:
    portal = portal_of(people.admin.app)
    with people.admin.app.app_context():
        wanted = Wanted("sso", "SSO", "https://sso.example/realms/a", "portal", "the-client-secret")
        made = providers.create(portal, SYSTEM, wanted)
    thief = Wanted("sso", "SSO", "https://thief.example", "portal")
    with people.admin.app.app_context():
        for attempt in (
            lambda: providers.examine(portal, SYSTEM, thief, "https://p/x", made.id),
            lambda: providers.change(portal, SYSTEM, made.id, thief),
        ):
            with pytest.raises(Invalid, match=r"secret: was entered for https://sso\.example:443"):
                attempt()
        same = Wanted("sso", "SSO", "https://sso.example/realms/b", "portal")
        assert providers.change(portal, SYSTEM, made.id, same).has_secret


def test_it_moves_to_the_newest_key_on_both_databases(both: World) -> None:
    file = both.folder / KEYRING_FILE
    with both.context() as portal:
        wanted = Wanted("sso", "SSO", "https://sso.example", "portal", "the-client-secret")
        made = providers.create(portal, SYSTEM, wanted)
        public = providers.create(portal, SYSTEM, Wanted("open", "Open", "https://open.example", "portal", ""))
        keyring.rotate(file)
        assert keys._resealed(portal) == 1 and providers.reseal(portal) == 0
        keyring.retire(file)
        assert providers.setup_of(portal, providers.by_slug("sso")).secret == "the-client-secret"
        assert made.has_secret and not public.has_secret


def test_a_secret_whose_key_is_gone_is_asked_for_again(admin: Person) -> None:
    portal, file = portal_of(admin.app), portal_of(admin.app).settings.data_dir / KEYRING_FILE
    with admin.app.app_context():
        made = providers.create(portal, SYSTEM, Wanted("sso", "SSO", "http://127.0.0.1:9", "portal", "the-client-secret"))
        keyring.rotate(file)
        keyring.retire(file)
        assert providers.reseal(portal) == 0, "the others move all the same"
        with pytest.raises(ProviderDown, match=r"does not open any more\. Enter it again"):
            providers.setup_of(portal, providers.by_slug("sso"))
    checked = admin.post("oidc/check", {"provider_id": made.id, "issuer": "http://127.0.0.1:9", "client_id": "portal"}).get_json()
    assert not checked["ok"] and [item["name"] for item in checked["items"]] == ["Client"]
    client = admin.app.test_client()
    assert client.get("/login/oidc/sso").headers["Location"] == "/login"
    assert "SSO does not answer right now" in client.get("/login").text
    body = {"title": "SSO", "issuer": "http://127.0.0.1:9", "client_id": "portal", "secret": "another"}
    assert admin.put(f"oidc/providers/{made.id}", body).status_code == 200
    with admin.app.app_context():
        assert providers.setup_of(portal, providers.by_slug("sso")).secret == "another"
