"""The tables of the core, and the triggers that keep the audit as it is.

Revision: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

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


def upgrade() -> None:
    op.create_table(
        "audit_checkpoint",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("signature", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_checkpoint")),
    )
    op.create_table(
        "audit_entry",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor_id", sa.String(length=80), nullable=False),
        sa.Column("actor_name", sa.String(length=200), nullable=False),
        sa.Column("actor_kind", sa.String(length=20), nullable=False),
        sa.Column("token_id", sa.String(length=80), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=True),
        sa.Column("instance_id", sa.String(length=26), nullable=True),
        sa.Column("action", sa.String(length=80), nullable=False),
        sa.Column("object_type", sa.String(length=40), nullable=False),
        sa.Column("object_id", sa.String(length=100), nullable=False),
        sa.Column("object_name", sa.String(length=200), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("via", sa.String(length=10), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("agent", sa.String(length=200), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("result", sa.String(length=10), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.Column("after", sa.JSON(), nullable=False),
        sa.Column("prev_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_entry")),
    )
    with op.batch_alter_table("audit_entry", schema=None) as batch_op:
        batch_op.create_index("ix_audit_entry_actor_id_seq", ["actor_id", "seq"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_entry_at"), ["at"], unique=False)
        batch_op.create_index("ix_audit_entry_instance_id_seq", ["instance_id", "seq"], unique=False)
        batch_op.create_index("ix_audit_entry_tenant_id_seq", ["tenant_id", "seq"], unique=False)

    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.String(length=100), nullable=False),
        sa.Column("broken_at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "audit_segment",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("first_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("prev_hash", sa.String(length=64), nullable=False),
        sa.Column("opened_at", sa.DateTime(), nullable=False),
        sa.Column("public_key", sa.String(length=60), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("vouched", sa.String(length=100), nullable=False),
        sa.Column("code", sa.String(length=100), nullable=False),
        sa.Column("acknowledges", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_segment")),
    )
    op.create_table(
        "cluster",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("searched", sa.Text(), nullable=False),
        sa.Column("runtime", sa.String(length=40), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("labels", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("all_tenants", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("policy", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("cordoned", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("paused_at", sa.DateTime(), nullable=True),
        sa.Column("revision", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=True),
        sa.Column("trusted_at", sa.DateTime(), nullable=True),
        sa.Column("trusted_by", sa.String(length=200), server_default="", nullable=False),
        sa.Column("health", sa.String(length=20), server_default="unknown", nullable=False),
        sa.Column("health_reason", sa.String(length=80), server_default="", nullable=False),
        sa.Column("health_message", sa.Text(), server_default="", nullable=False),
        sa.Column("health_since", sa.DateTime(), nullable=True),
        sa.Column("last_contact_at", sa.DateTime(), nullable=True),
        sa.Column("version", sa.String(length=200), server_default="", nullable=False),
        sa.Column("capacity", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("capabilities", sa.JSON(), server_default="[]", nullable=False),
        sa.Column("separation", sa.String(length=40), server_default="", nullable=False),
        sa.Column("separation_findings", sa.JSON(), server_default="[]", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cluster")),
        sa.UniqueConstraint("name", name=op.f("uq_cluster_name")),
    )
    op.create_table(
        "idempotency_key",
        sa.Column("actor_id", sa.String(length=80), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("object_id", sa.String(length=26), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("actor_id", "key", name=op.f("pk_idempotency_key")),
    )
    with op.batch_alter_table("idempotency_key", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_idempotency_key_created_at"), ["created_at"], unique=False)

    op.create_table(
        "lease",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("holder", sa.String(length=80), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
    )
    op.create_table(
        "portal_setting",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_portal_setting")),
    )
    op.create_table(
        "wrong_tries",
        sa.Column("purpose", sa.String(length=10), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.DateTime(), nullable=False),
        sa.Column("until", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("purpose", "subject", "address", name=op.f("pk_wrong_tries")),
    )
    with op.batch_alter_table("wrong_tries", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_wrong_tries_last_at"), ["last_at"], unique=False)

    op.create_table(
        "cluster_secret",
        sa.Column("cluster_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"], ["cluster.id"], name=op.f("fk_cluster_secret_cluster_id_cluster"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("cluster_id", "name", name=op.f("pk_cluster_secret")),
    )
    op.create_table(
        "tenant",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("searched", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("allowed_adapters", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("default_cluster_id", sa.String(length=26), nullable=True),
        sa.Column("layer", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("require_totp", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("deleting_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["default_cluster_id"], ["cluster.id"], name=op.f("fk_tenant_default_cluster_id_cluster"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant")),
        sa.UniqueConstraint("name", name=op.f("uq_tenant_name")),
    )
    op.create_table(
        "cluster_tenant",
        sa.Column("cluster_id", sa.String(length=26), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"], ["cluster.id"], name=op.f("fk_cluster_tenant_cluster_id_cluster"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_cluster_tenant_tenant_id_tenant"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("cluster_id", "tenant_id", name=op.f("pk_cluster_tenant")),
    )
    with op.batch_alter_table("cluster_tenant", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_cluster_tenant_tenant_id"), ["tenant_id"], unique=False)

    op.create_table(
        "custom_role",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("description", sa.String(length=200), nullable=False),
        sa.Column("permissions", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_custom_role_tenant_id_tenant"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_custom_role")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_custom_role_tenant_id_name")),
    )
    op.create_table(
        "event",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=True),
        sa.Column("instance_id", sa.String(length=26), nullable=True),
        sa.Column("level", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=80), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_event_tenant_id_tenant"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_event")),
    )
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_event_at"), ["at"], unique=False)
        batch_op.create_index("ix_event_instance_id_seq", ["instance_id", "seq"], unique=False)
        batch_op.create_index("ix_event_tenant_id_seq", ["tenant_id", "seq"], unique=False)

    op.create_table(
        "project",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("deleting_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_project_tenant_id_tenant"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_project_tenant_id_name")),
    )
    op.create_table(
        "tenant_secret",
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("goes_to", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_tenant_secret_tenant_id_tenant"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "name", name=op.f("pk_tenant_secret")),
    )
    op.create_table(
        "user_account",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("display_name", sa.String(length=200), nullable=False),
        sa.Column("folded", sa.String(length=330), nullable=False),
        sa.Column("skeleton", sa.String(length=330), nullable=False),
        sa.Column("searched", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=False),
        sa.Column("session_epoch", sa.Integer(), nullable=False),
        sa.Column("must_change_password", sa.Boolean(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("language", sa.String(length=10), nullable=False),
        sa.Column("theme", sa.String(length=10), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("last_login_at", sa.DateTime(), nullable=True),
        sa.Column("service_tenant_id", sa.String(length=26), nullable=True),
        sa.ForeignKeyConstraint(
            ["service_tenant_id"], ["tenant.id"], name=op.f("fk_user_account_service_tenant_id_tenant"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_account")),
        sa.UniqueConstraint("folded", name=op.f("uq_user_account_folded")),
        sa.UniqueConstraint("name", name=op.f("uq_user_account_name")),
    )
    with op.batch_alter_table("user_account", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_user_account_service_tenant_id"), ["service_tenant_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_user_account_skeleton"), ["skeleton"], unique=False)

    op.create_table(
        "api_token",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=True),
        sa.Column("last_used_at", sa.DateTime(), nullable=True),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.Column("scopes", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("addresses", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_api_token_user_id_user_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_token")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_token_token_hash")),
    )
    with op.batch_alter_table("api_token", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_api_token_user_id"), ["user_id"], unique=False)

    op.create_table(
        "backup_code",
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("used_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_backup_code_user_id_user_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "code_hash", name=op.f("pk_backup_code")),
    )
    op.create_table(
        "instance",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        sa.Column("project_id", sa.String(length=26), nullable=False),
        sa.Column("cluster_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("destroyed_at", sa.DateTime(), nullable=True),
        sa.Column("adapter", sa.String(length=40), nullable=False),
        sa.Column("version", sa.String(length=60), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("desired", sa.String(length=20), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("restarts_wanted", sa.Integer(), nullable=False),
        sa.Column("kill_wanted", sa.Boolean(), nullable=False),
        sa.Column("keep_data", sa.Boolean(), nullable=False),
        sa.Column("priority", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("foreign_id", sa.String(length=200), server_default="", nullable=False),
        sa.Column("foreign", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("managed", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("observed_generation", sa.Integer(), nullable=False),
        sa.Column("restarts_done", sa.Integer(), nullable=False),
        sa.Column("phase", sa.String(length=20), nullable=False),
        sa.Column("sync", sa.String(length=20), nullable=False),
        sa.Column("health", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.String(length=80), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("next_action", sa.Text(), nullable=False),
        sa.Column("phase_since", sa.DateTime(), nullable=False),
        sa.Column("phase_deadline", sa.DateTime(), nullable=True),
        sa.Column("conditions", sa.JSON(), nullable=False),
        sa.Column("workload", sa.JSON(), nullable=True),
        sa.Column("applied_digest", sa.String(length=64), nullable=False),
        sa.Column("applied_generation", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("incarnation", sa.String(length=80), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=True),
        sa.Column("restart_count", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("turn_at", sa.DateTime(), nullable=True),
        sa.Column("restarts_seen", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("not_before", sa.DateTime(), nullable=True),
        sa.Column("due_at", sa.DateTime(), nullable=True),
        sa.Column("lease_holder", sa.String(length=80), nullable=False),
        sa.Column("lease_until", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["cluster_id"], ["cluster.id"], name=op.f("fk_instance_cluster_id_cluster")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_instance_project_id_project")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_instance_tenant_id_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance")),
    )
    with op.batch_alter_table("instance", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_instance_cluster_id"), ["cluster_id"], unique=False)
        batch_op.create_index(
            "ix_instance_due_at",
            ["due_at"],
            unique=False,
            sqlite_where=sa.text("due_at IS NOT NULL"),
            postgresql_where=sa.text("due_at IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_instance_live_created_at",
            ["created_at", "id"],
            unique=False,
            sqlite_where=sa.text("destroyed_at IS NULL"),
            postgresql_where=sa.text("destroyed_at IS NULL"),
        )
        batch_op.create_index(
            "ix_instance_live_name",
            ["name", "id"],
            unique=False,
            sqlite_where=sa.text("destroyed_at IS NULL"),
            postgresql_where=sa.text("destroyed_at IS NULL"),
        )
        batch_op.create_index(
            "ix_instance_live_phase",
            ["phase", "id"],
            unique=False,
            sqlite_where=sa.text("destroyed_at IS NULL"),
            postgresql_where=sa.text("destroyed_at IS NULL"),
        )
        batch_op.create_index(
            "ix_instance_live_state",
            ["phase", "health", "sync", "desired", "crashes", "tenant_id", "destroyed_at"],
            unique=False,
            sqlite_where=sa.text("destroyed_at IS NULL"),
            postgresql_where=sa.text("destroyed_at IS NULL"),
        )
        batch_op.create_index(batch_op.f("ix_instance_project_id"), ["project_id"], unique=False)
        batch_op.create_index(
            "ix_instance_turn",
            ["cluster_id"],
            unique=False,
            sqlite_where=sa.text("turn_at IS NOT NULL"),
            postgresql_where=sa.text("turn_at IS NOT NULL"),
        )
        batch_op.create_index(
            "uq_instance_foreign_id_live",
            ["foreign_id"],
            unique=True,
            sqlite_where=sa.text("foreign_id <> '' AND destroyed_at IS NULL"),
            postgresql_where=sa.text("foreign_id <> '' AND destroyed_at IS NULL"),
        )
        batch_op.create_index(
            "uq_instance_tenant_id_name_live",
            ["tenant_id", "name"],
            unique=True,
            sqlite_where=sa.text("destroyed_at IS NULL"),
            postgresql_where=sa.text("destroyed_at IS NULL"),
        )

    op.create_table(
        "invitation",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("note", sa.String(length=200), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("created_by_id", sa.String(length=26), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["user_account.id"], name=op.f("fk_invitation_created_by_id_user_account"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_invitation_tenant_id_tenant"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitation")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_invitation_token_hash")),
    )
    with op.batch_alter_table("invitation", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_invitation_created_by_id"), ["created_by_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_invitation_tenant_id"), ["tenant_id"], unique=False)

    op.create_table(
        "known_address",
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("last_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_known_address_user_id_user_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "address", name=op.f("pk_known_address")),
    )
    with op.batch_alter_table("known_address", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_known_address_last_at"), ["last_at"], unique=False)

    op.create_table(
        "membership",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=True),
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.DateTime(), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False),
        sa.Column("source", sa.String(length=120), server_default="", nullable=False),
        sa.Column("source_group", sa.String(length=255), server_default="", nullable=False),
        sa.Column("source_title", sa.String(length=200), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_membership_tenant_id_tenant"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_membership_user_id_user_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_membership")),
        sa.UniqueConstraint("user_id", "tenant_id", name=op.f("uq_membership_user_id_tenant_id")),
    )
    with op.batch_alter_table("membership", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_membership_source"), ["source"], unique=False)
        batch_op.create_index("ix_membership_tenant_id", ["tenant_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_membership_user_id"), ["user_id"], unique=False)
        batch_op.create_index(
            "uq_membership_user_id_portal",
            ["user_id"],
            unique=True,
            sqlite_where=sa.text("tenant_id IS NULL"),
            postgresql_where=sa.text("tenant_id IS NULL"),
        )

    op.create_table(
        "quota",
        sa.Column("scope_id", sa.String(length=26), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        sa.Column("project_id", sa.String(length=26), nullable=True),
        sa.Column("instances", sa.Integer(), nullable=True),
        sa.Column("cpu", sa.String(length=40), nullable=False),
        sa.Column("memory", sa.String(length=40), nullable=False),
        sa.Column("storage", sa.String(length=40), server_default="", nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_quota_project_id_project"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_quota_tenant_id_tenant"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("scope_id", name=op.f("pk_quota")),
    )
    with op.batch_alter_table("quota", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_quota_tenant_id"), ["tenant_id"], unique=False)

    op.create_table(
        "user_otp",
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("enabled_at", sa.DateTime(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_user_otp_user_id_user_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_user_otp")),
    )
    op.create_table(
        "user_session",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("serial", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("agent", sa.String(length=300), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.Column("source", sa.String(length=120), server_default="", nullable=False),
        sa.Column("source_title", sa.String(length=200), server_default="", nullable=False),
        sa.Column("vouched", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_user_session_user_id_user_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_session")),
    )
    with op.batch_alter_table("user_session", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_user_session_expires_at"), ["expires_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_user_session_source"), ["source"], unique=False)
        batch_op.create_index(batch_op.f("ix_user_session_user_id"), ["user_id"], unique=False)

    op.create_table(
        "instance_secret",
        sa.Column("instance_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("generated", sa.Boolean(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("goes_to", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name=op.f("fk_instance_secret_instance_id_instance"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("instance_id", "name", name=op.f("pk_instance_secret")),
    )
    op.create_table(
        "operation",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=True),
        sa.Column("instance_id", sa.String(length=26), nullable=True),
        sa.Column("cluster_id", sa.String(length=26), nullable=True),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("dedup", sa.String(length=200), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("progress", sa.Double(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("lines", sa.JSON(), nullable=False),
        sa.Column("steps", sa.JSON(), server_default="[]", nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=True),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.Column("due_at", sa.DateTime(), nullable=True),
        sa.Column("lease_holder", sa.String(length=80), nullable=False),
        sa.Column("lease_until", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["cluster_id"], ["cluster.id"], name=op.f("fk_operation_cluster_id_cluster"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name=op.f("fk_operation_instance_id_instance"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_operation_tenant_id_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operation")),
    )
    with op.batch_alter_table("operation", schema=None) as batch_op:
        batch_op.create_index("ix_operation_created_at_id", ["created_at", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_operation_dedup"), ["dedup"], unique=False)
        batch_op.create_index(batch_op.f("ix_operation_instance_id"), ["instance_id"], unique=False)
        batch_op.create_index("ix_operation_state_created_at", ["state", "created_at"], unique=False)

    op.create_table(
        "port_allocation",
        sa.Column("cluster_id", sa.String(length=26), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("instance_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"], ["cluster.id"], name=op.f("fk_port_allocation_cluster_id_cluster"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name=op.f("fk_port_allocation_instance_id_instance"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("cluster_id", "port", name=op.f("pk_port_allocation")),
        sa.UniqueConstraint("instance_id", "name", name=op.f("uq_port_allocation_instance_id_name")),
    )
    op.create_table(
        "role_grant",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("project_id", sa.String(length=26), nullable=True),
        sa.Column("instance_id", sa.String(length=26), nullable=True),
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("source", sa.String(length=120), server_default="", nullable=False),
        sa.Column("source_group", sa.String(length=255), server_default="", nullable=False),
        sa.CheckConstraint("(project_id IS NULL) <> (instance_id IS NULL)", name=op.f("ck_role_grant_one_scope")),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name=op.f("fk_role_grant_instance_id_instance"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_role_grant_project_id_project"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_role_grant_tenant_id_tenant"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_role_grant_user_id_user_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_role_grant")),
        sa.UniqueConstraint("user_id", "instance_id", name=op.f("uq_role_grant_user_id_instance_id")),
        sa.UniqueConstraint("user_id", "project_id", name=op.f("uq_role_grant_user_id_project_id")),
    )
    with op.batch_alter_table("role_grant", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_role_grant_source"), ["source"], unique=False)
        batch_op.create_index("ix_role_grant_tenant_id", ["tenant_id"], unique=False)

    op.create_table(
        "sample_chunk",
        sa.Column("instance_id", sa.String(length=26), nullable=False),
        sa.Column("tier", sa.SmallInteger(), nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("points", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name=op.f("fk_sample_chunk_instance_id_instance"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("instance_id", "tier", "start", name=op.f("pk_sample_chunk")),
    )
    with op.batch_alter_table("sample_chunk", schema=None) as batch_op:
        batch_op.create_index("ix_sample_chunk_tier_start", ["tier", "start"], unique=False)
    audit_head = sa.table("audit_head", *(sa.column(name) for name in ("id", "seq", "hash", "signature")))
    op.bulk_insert(audit_head, [{"id": 1, "seq": 0, "hash": "0" * 64, "signature": ""}])
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    for table in (
        "sample_chunk",
        "role_grant",
        "port_allocation",
        "operation",
        "instance_secret",
        "user_session",
        "user_otp",
        "quota",
        "membership",
        "known_address",
        "invitation",
        "instance",
        "backup_code",
        "api_token",
        "user_account",
        "tenant_secret",
        "project",
        "event",
        "custom_role",
        "cluster_tenant",
        "tenant",
        "cluster_secret",
        "wrong_tries",
        "portal_setting",
        "lease",
        "idempotency_key",
        "cluster",
        "audit_segment",
        "audit_head",
        "audit_entry",
        "audit_checkpoint",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        for name in ("audit_refuse", "audit_refuse_delete", "audit_refuse_way_back"):
            op.execute(f"DROP FUNCTION IF EXISTS {name}()")
