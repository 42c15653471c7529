"""The REST face: what people and scripts ask over HTTP. Its routes parse, call an operation, and present the result."""
