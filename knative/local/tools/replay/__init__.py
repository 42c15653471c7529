"""Replays the trace of a GPU cluster as workload events on a platform of its own."""
