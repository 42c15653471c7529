"""A `libnvidia-ml.so.1` of our own: the real pynvml runs on it, and each test scripts what the driver says."""
