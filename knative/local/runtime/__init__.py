"""What the platform is made of: its processes, its state directory, its database, its log."""
