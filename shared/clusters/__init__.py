"""Kubernetes clusters: what Sentinel asks of one, and how it is asked."""
