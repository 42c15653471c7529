"""Knative manifests, and `knative.local`, which runs them on one machine."""
