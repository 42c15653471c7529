"""Workloads, clusters, GPUs, plans and deployments: values and the rules among them, without I/O."""
