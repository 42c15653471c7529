"""Runs some workloads through the chain on a platform of its own, shows every event, and checks the outcomes."""
