"""Watches applied revisions until they are healthy, and proposes the way back when they are not."""
