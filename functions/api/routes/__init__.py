"""The routes, one module a resource. Each has a `router`, which app.py mounts."""
