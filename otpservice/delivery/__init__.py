"""HTTP out: the worker that reads the outbox, the route over the gateways, and the gateways."""
