"""What there is and where it is: registry, bindings, contents, stock by zone at any time."""
