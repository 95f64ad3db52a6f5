"""What an entry says can be read in another language, and is covered by its hash like the rest."""

from __future__ import annotations

from sqlalchemy import text

from clawportal.contracts.permissions import Actor
from clawportal.db import db, transaction
from clawportal.messages import Message, _m
from clawportal.models import AuditEntry
from clawportal.services.audit import chain, trail
from tests.conftest import People
from tests.core.world import World
from tests.rights.test_rights_pages import Browser

KIM = Actor("kim", "kim")


def noted(still: World, summary: str, reason: str = "") -> AuditEntry:
    with still.context():
        trail.note(trail.Pending("thing.change", KIM, "thing", "1", summary=summary, reason=reason))
        return db.session.query(AuditEntry).order_by(AuditEntry.seq.desc()).limit(1).one()


def test_a_message_comes_back_as_one(still: World) -> None:
    entry = noted(still, _m("%(name)s was created.", name="a"), _m("must not be empty"))
    said = entry.sentence("summary")
    assert isinstance(said, Message) and said.id == "%(name)s was created." and said.parameters == {"name": "a"}
    assert entry.summary == said == "a was created." and isinstance(entry.sentence("reason"), Message)


def test_plain_text_stays_plain(still: World) -> None:
    entry = noted(still, "said by hand")
    assert entry.messages is None and entry.sentence("summary") == "said by hand"


def test_a_secret_in_a_message_is_hidden_in_it(still: World) -> None:
    entry = noted(still, _m("%(name)s was created.", name="password=hunter2secret"))
    assert "hunter2secret" not in entry.summary and "hunter2secret" not in str(entry.messages)


def test_what_was_cut_is_kept_as_text_only(still: World) -> None:
    entry = noted(still, _m("%(name)s was created.", name="a" * 2000))
    assert len(entry.summary) == 1000 and entry.messages is None


def test_the_hash_covers_the_message(still: World) -> None:
    noted(still, _m("%(name)s was created.", name="a"))
    with still.context():
        assert chain.verify().broken is None
        with transaction():
            db.session.execute(text("DROP TRIGGER audit_entry_no_update"))
            changed = "UPDATE audit_entry SET messages = replace(messages, 'created', 'deleted') WHERE messages IS NOT NULL"
            assert db.session.connection().execute(text(changed)).rowcount == 1
        assert chain.verify().broken is not None


def test_why_a_form_was_refused_is_kept_in_no_single_language(people: People) -> None:
    """The auditor may read another language than whoever was refused."""
    browser = Browser(people.owner)
    browser.client.set_cookie("clawportal_language", "zh_Hans")
    answer = browser.post("/instances/new", name="Bad Name", adapter="echo")
    assert answer.status_code == 422
    with people.owner.app.app_context():
        entry = db.session.query(AuditEntry).filter_by(action="instance.create", result="refused").one()
        assert entry.reason.isascii() and "name" in entry.reason
        assert isinstance(entry.sentence("reason"), Message)
