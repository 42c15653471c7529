"""What a workload costs, where it goes, what it looks like to Kubernetes, and how it is doing there. Pure."""
