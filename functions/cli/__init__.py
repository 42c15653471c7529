"""The command line: submit and watch workloads, read the record, redrive dead letters, keep the catalogue."""
