"""PostgreSQL: tables, the unit of work, the inbox and outbox, the ledger, the audit chain, migrations."""
