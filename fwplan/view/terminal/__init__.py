"""Estimates, suggestions, runs and campaigns as lines of rich's markup, for a terminal of 80 columns."""
