"""A mode's step on the tape, run once with letters: its moments, and the lines that they are made of."""
