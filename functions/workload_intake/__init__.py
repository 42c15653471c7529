"""Takes workloads in: validates, prices, chooses a cluster, and proposes a plan."""
