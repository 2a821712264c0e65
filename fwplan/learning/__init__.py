"""What past runs teach: a measurement, their store, campaigns that make more, what they say of a run. No torch."""
