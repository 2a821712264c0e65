"""A spec, a device and what past runs taught become an Estimate: one run, or arrays of many."""
