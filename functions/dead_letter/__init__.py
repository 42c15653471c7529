"""The brokers' dead-letter sink: keeps the original bytes and the reason, for `sentinel events redrive`."""
