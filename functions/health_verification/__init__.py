"""Verifies applied revisions, and proposes to roll back those that are not healthy."""
