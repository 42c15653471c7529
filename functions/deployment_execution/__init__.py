"""Applies approved plans to clusters."""
