"""The Kubernetes cluster that the platform works on: its kubeconfig, requests to it, heartbeats of its nodes."""
