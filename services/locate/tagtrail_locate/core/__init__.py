"""Pure numerics and folds of locate: event time only, no input or output, no wall clock."""
