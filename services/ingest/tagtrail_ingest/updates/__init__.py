"""New versions of the agent: to a few gateways first, to all when those have proved them."""
