"""Programs that run a platform of their own: the demo and the replay."""
