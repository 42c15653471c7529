"""What the deployables share. Knows no concrete event type."""
