"""State of inventory, folded from the log."""
