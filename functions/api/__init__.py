"""The REST face: what an HTTP client may ask. It only reads: submissions and withdrawals are events."""
