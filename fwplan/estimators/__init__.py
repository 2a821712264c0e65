"""Pure arithmetic from a RunSpec to memory, FLOPs, time, tokens and expected loss. Never torch."""
