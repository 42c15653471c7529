"""What the production manifests promise."""
