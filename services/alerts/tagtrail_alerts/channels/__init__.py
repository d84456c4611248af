"""Ways to tell people: addresses, transport, and one renderer per kind of channel."""
