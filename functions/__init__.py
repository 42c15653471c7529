"""Deployables. None imports another; what they share lives in `shared`."""
