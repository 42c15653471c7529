"""Takes in telemetry batches and stores them."""
