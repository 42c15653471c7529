"""Knative Serving on one machine: Services that scale to zero, and the gateway to them."""
