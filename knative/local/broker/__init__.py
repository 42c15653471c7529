"""The Kafka broker on one machine: ingress, filters, delivery with retries and dead letters, a durable log."""
