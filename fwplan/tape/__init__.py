"""A model as a program on sizes: what a step makes, keeps and frees, without torch."""
