"""Measuring campaigns: which specs, each in a process of its own, and the results as JSON lines. No torch."""
