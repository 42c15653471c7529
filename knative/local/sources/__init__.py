"""Sources: what puts events into a broker without anyone posting them."""
