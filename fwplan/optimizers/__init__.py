"""The optimizers: what each is told, remembers, makes and moves."""
