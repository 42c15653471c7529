"""The laptop platform, driven over real HTTP, sockets and processes."""
