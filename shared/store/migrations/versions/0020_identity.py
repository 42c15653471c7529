"""Users, service accounts, their roles and tokens, and how often a login was tried."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_TABLES = ("accounts", "role_bindings", "refresh_tokens", "account_tokens", "login_attempts")


def _moment(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _kept() -> tuple[sa.Column[object], ...]:
    return tuple(
        sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
        for name in ("created_at", "updated_at")
    )


def _id() -> sa.Column[object]:
    return sa.Column("id", postgresql.UUID(), primary_key=True, server_default=sa.func.gen_random_uuid())


def upgrade() -> None:
    op.create_table(
        "accounts",
        _id(),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("issuer", sa.Text, nullable=False, server_default=""),
        sa.Column("password_hash", sa.Text),
        sa.Column("disabled", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("revision", sa.BigInteger, nullable=False, server_default=sa.text("1")),
        *_kept(),
        sa.UniqueConstraint("kind", "issuer", "name", name="uq_accounts_kind_issuer_name"),
    )
    op.create_table(
        "role_bindings",
        _id(),
        sa.Column("account_id", postgresql.UUID(), nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("team", sa.Text, nullable=False, server_default=""),
        *_kept(),
        sa.UniqueConstraint("account_id", "role", "team", name="uq_role_bindings_account_id_role_team"),
    )
    op.create_table(
        "refresh_tokens",
        _id(),
        sa.Column("family", postgresql.UUID(), nullable=False),
        sa.Column("account_id", postgresql.UUID(), nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        _moment("expires_at", nullable=False),
        _moment("used_at"),
        _moment("revoked_at"),
        *_kept(),
        sa.UniqueConstraint("digest", name="uq_refresh_tokens_digest"),
    )
    op.create_index("ix_refresh_tokens_family", "refresh_tokens", ["family"])
    op.create_index("ix_refresh_tokens_account_id", "refresh_tokens", ["account_id"])
    op.create_index("ix_refresh_tokens_expires_at", "refresh_tokens", ["expires_at"])
    op.create_table(
        "account_tokens",
        _id(),
        sa.Column("account_id", postgresql.UUID(), nullable=False),
        sa.Column("description", sa.Text, nullable=False, server_default=""),
        _moment("expires_at", nullable=False),
        _moment("revoked_at"),
        *_kept(),
    )
    op.create_index("ix_account_tokens_account_id", "account_tokens", ["account_id"])
    op.create_index("ix_account_tokens_expires_at", "account_tokens", ["expires_at"])
    op.create_table(
        "login_attempts",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False, server_default=sa.text("0")),
        _moment("blocked_until"),
        *_kept(),
    )
    op.create_index("ix_login_attempts_updated_at", "login_attempts", ["updated_at"])
    for table in _TABLES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO sentinel_app")


def downgrade() -> None:
    for table in reversed(_TABLES):
        op.drop_table(table)
