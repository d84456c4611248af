"""Wire formats: how each kind of gateway spells what it heard."""
