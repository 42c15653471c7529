"""Policies: documents, rules and the evaluation. Pure: no clock, no I/O."""
