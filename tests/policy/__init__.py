"""Policies as people write them: case files, and documents that are refused. Both are data; no Python is needed."""
