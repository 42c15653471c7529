"""Asks a Prometheus. Nothing else of Sentinel reaches one."""
