"""What Sentinel relies on of a Kubernetes API, as raw calls: one suite for the stand-in and for a real API server."""
