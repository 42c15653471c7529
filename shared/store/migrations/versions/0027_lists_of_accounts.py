"""Lists of accounts and of role bindings follow an index."""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint("uq_accounts_kind_issuer_name", "accounts")
    op.create_unique_constraint("uq_accounts_kind_name_issuer", "accounts", ["kind", "name", "issuer"])
    op.create_index("ix_role_bindings_created_at_id", "role_bindings", ["created_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_role_bindings_created_at_id", "role_bindings")
    op.drop_constraint("uq_accounts_kind_name_issuer", "accounts")
    op.create_unique_constraint("uq_accounts_kind_issuer_name", "accounts", ["kind", "issuer", "name"])
