"""Runs of nanochat and of what is made from it: by the arguments of its base_train.py, by autoresearch's constants."""
