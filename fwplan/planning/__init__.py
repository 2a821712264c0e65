"""From a device and its budgets to the run worth training: the whole space in arrays, what fits, the best of it."""
