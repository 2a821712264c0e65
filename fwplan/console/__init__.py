"""What is said while something runs: streams whose reader may leave, lines of markup, progress. rich, no torch."""
