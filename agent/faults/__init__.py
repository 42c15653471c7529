"""What is wrong with the GPUs of a node: pure detectors over its readings, and what they remember across a restart."""
