"""HTTP in: the wire contract, version 1."""
