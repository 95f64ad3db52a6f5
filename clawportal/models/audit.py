"""The audit: entries in one chain of hashes, the head of the chain, and checkpoints that retention leaves behind.

Nothing here refers to other tables: an entry outlives everything that it tells of. Triggers refuse to change entries, and to
delete any that no checkpoint covers; a migration of the core makes them, and `create_all` makes the same ones from here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Connection, Index, Integer, LargeBinary, MetaData, String, Table, Text, event, insert
from sqlalchemy.orm import Mapped, mapped_column

from clawportal import clock
from clawportal.contracts import core_resources
from clawportal.db import Base, UTCDateTime
from clawportal.ids import LENGTH
from clawportal.messages import from_json
from clawportal.models.scopes import Recorded

GENESIS = "0" * 64
"""What stands in place of the hash before the first entry."""

_NUMBER = BigInteger().with_variant(Integer, "sqlite")


class AuditEntry(Recorded, Base):
    """Who did what, when, from where, and what it changed. `seq` has no gaps."""

    __tablename__ = "audit_entry"
    resource = core_resources.AUDIT_ENTRY
    __table_args__ = (
        # with all that decides who may read an entry: counting those of a tenant does not look into the table
        Index("ix_audit_entry_readers", "tenant_id", "seq", "read_permission", "person_id", "instance_id", "project_id"),
        Index("ix_audit_entry_instance_id_seq", "instance_id", "seq"),
        Index("ix_audit_entry_actor_id_seq", "actor_id", "seq"),
    )

    seq: Mapped[int] = mapped_column(_NUMBER, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)
    actor_id: Mapped[str] = mapped_column(String(80))
    actor_name: Mapped[str] = mapped_column(String(200))
    actor_kind: Mapped[str] = mapped_column(String(20))
    """`user`, `token`, `service`, `system`, or `nobody` for who is not signed in."""
    token_id: Mapped[str] = mapped_column(String(80))
    tenant_id: Mapped[str | None] = mapped_column(String(LENGTH))
    instance_id: Mapped[str | None] = mapped_column(String(LENGTH))
    action: Mapped[str] = mapped_column(String(80))
    object_type: Mapped[str] = mapped_column(String(40))
    object_id: Mapped[str] = mapped_column(String(100))
    object_name: Mapped[str] = mapped_column(String(200))
    summary: Mapped[str] = mapped_column(Text)
    via: Mapped[str] = mapped_column(String(10))
    address: Mapped[str] = mapped_column(String(64))
    agent: Mapped[str] = mapped_column(String(200))
    request_id: Mapped[str] = mapped_column(String(64))
    result: Mapped[str] = mapped_column(String(10))
    """`ok` or `refused`."""
    status: Mapped[int] = mapped_column(default=0)
    """HTTP status of a refusal; 0 for what was done."""
    reason: Mapped[str] = mapped_column(String(500))
    times: Mapped[int] = mapped_column(default=1)
    """How many equal refusals this entry stands for."""
    before: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Dotted path -> value, of what changed only."""
    after: Mapped[dict[str, Any]] = mapped_column(JSON)
    messages: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """`summary` and `reason` with their ids and parameters, so that they can be read in another language."""
    prev_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))

    def sentence(self, column: str) -> str:
        """`summary` or `reason` as it was said: a message where one is kept."""
        kept = (self.messages or {}).get(column)
        return str(from_json(kept)) if kept is not None else str(getattr(self, column))


class AuditHead(Base):
    """The one row that says where the chain ends. Whoever appends locks it until the commit."""

    __tablename__ = "audit_head"
    resource = core_resources.AUDIT_HEAD

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(_NUMBER)
    hash: Mapped[str] = mapped_column(String(64))
    signature: Mapped[str] = mapped_column(String(100))
    """Made with the key of the open segment."""
    broken_at: Mapped[int | None] = mapped_column(_NUMBER)
    """The entry at which the head was not what the portal had signed; until somebody acknowledges it."""


class AuditSegment(Base):
    """The keys of a stretch of the chain, about a day long. The private one is erased when the next segment begins."""

    __tablename__ = "audit_segment"
    resource = core_resources.AUDIT_SEGMENT

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    first_seq: Mapped[int] = mapped_column(_NUMBER)
    """The first entry in it; the next segment's says where it ends."""
    prev_hash: Mapped[str] = mapped_column(String(64))
    opened_at: Mapped[datetime] = mapped_column(UTCDateTime)
    public_key: Mapped[str] = mapped_column(String(60))
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The private key, while the segment is open."""
    vouched: Mapped[str] = mapped_column(String(100), default="")
    """Signature of the segment before it."""
    code: Mapped[str] = mapped_column(String(100))
    """Code of the key ring."""
    acknowledges: Mapped[int | None] = mapped_column(_NUMBER)
    """The entry at which the chain was broken, where somebody went on in spite of it."""
    why: Mapped[str] = mapped_column(Text, default="")
    """What they said about it."""


class AuditCheckpoint(Base):
    """Up to which entry retention deleted, and the hash that the next one continues from; signed like the head."""

    __tablename__ = "audit_checkpoint"
    resource = core_resources.AUDIT_CHECKPOINT

    seq: Mapped[int] = mapped_column(_NUMBER, primary_key=True, autoincrement=False)
    hash: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    entries: Mapped[int]
    """How many entries were deleted with it."""
    signature: Mapped[str] = mapped_column(String(100))


_SQLITE = (
    "CREATE TRIGGER audit_entry_no_update BEFORE UPDATE ON audit_entry "
    "BEGIN SELECT RAISE(ABORT, 'audit entries cannot be changed'); END",
    "CREATE TRIGGER audit_entry_no_delete BEFORE DELETE ON audit_entry "
    "WHEN OLD.seq > (SELECT COALESCE(MAX(seq), 0) FROM audit_checkpoint) "
    "BEGIN SELECT RAISE(ABORT, 'audit entries cannot be deleted without a checkpoint'); END",
    "CREATE TRIGGER audit_checkpoint_no_update BEFORE UPDATE ON audit_checkpoint "
    "BEGIN SELECT RAISE(ABORT, 'audit checkpoints cannot be changed'); END",
    "CREATE TRIGGER audit_checkpoint_no_delete BEFORE DELETE ON audit_checkpoint "
    "BEGIN SELECT RAISE(ABORT, 'audit checkpoints cannot be deleted'); END",
    "CREATE TRIGGER audit_head_no_way_back BEFORE UPDATE ON audit_head WHEN NEW.seq < OLD.seq "
    "BEGIN SELECT RAISE(ABORT, 'the audit does not go back'); END",
    "CREATE TRIGGER audit_head_no_delete BEFORE DELETE ON audit_head "
    "BEGIN SELECT RAISE(ABORT, 'the head of the audit cannot be deleted'); END",
)
_POSTGRESQL = (
    "CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION '% of % is refused: the audit is append-only', TG_OP, TG_TABLE_NAME; END $$",
    "CREATE OR REPLACE FUNCTION audit_refuse_delete() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN IF OLD.seq > (SELECT COALESCE(MAX(seq), 0) FROM audit_checkpoint) THEN "
    "RAISE EXCEPTION 'audit entries cannot be deleted without a checkpoint'; END IF; RETURN OLD; END $$",
    "CREATE OR REPLACE FUNCTION audit_refuse_way_back() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN IF NEW.seq < OLD.seq THEN RAISE EXCEPTION 'the audit does not go back'; END IF; RETURN NEW; END $$",
    "CREATE TRIGGER audit_entry_no_update BEFORE UPDATE ON audit_entry FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_entry_no_delete BEFORE DELETE ON audit_entry FOR EACH ROW EXECUTE FUNCTION audit_refuse_delete()",
    "CREATE TRIGGER audit_entry_no_truncate BEFORE TRUNCATE ON audit_entry EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_checkpoint_no_update BEFORE UPDATE OR DELETE ON audit_checkpoint "
    "FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_checkpoint_no_truncate BEFORE TRUNCATE ON audit_checkpoint EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_head_no_way_back BEFORE UPDATE ON audit_head FOR EACH ROW EXECUTE FUNCTION audit_refuse_way_back()",
    "CREATE TRIGGER audit_head_no_delete BEFORE DELETE ON audit_head FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_head_no_truncate BEFORE TRUNCATE ON audit_head EXECUTE FUNCTION audit_refuse()",
)


@event.listens_for(Base.metadata, "after_create")
def _finish(_metadata: MetaData, connection: Connection, *, tables: list[Table], **_more: object) -> None:
    """What a table cannot say of itself: triggers, and the head that every append needs."""
    if AuditHead.__table__ not in tables:
        return
    for statement in _SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL:
        connection.exec_driver_sql(statement.replace("%", "%%") if connection.dialect.name == "postgresql" else statement)
    connection.execute(insert(AuditHead).values(id=1, seq=0, hash=GENESIS, signature=""))
