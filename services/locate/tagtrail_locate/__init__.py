"""Where tags are: zones from signal strength, positions from ranges, presence from cadence."""
