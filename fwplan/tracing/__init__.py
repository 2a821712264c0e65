"""One training step on fake tensors: what it allocates and when, found without a GPU and without arithmetic."""
