"""The REST face: what an HTTP client may ask. Reads only; wishes are events."""
