"""The agent of GPU nodes: measures, tells Prometheus and the chain, and finds faults."""
