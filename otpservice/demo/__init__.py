"""Everything on one machine with nothing to set up: an embedded Valkey, the sandbox, the API and a worker."""
