"""What telemetry means: the fields that are measured, and the arithmetic on them. Pure."""
