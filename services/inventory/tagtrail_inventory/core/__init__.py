"""Pure decisions of inventory: no I/O, no clock."""
