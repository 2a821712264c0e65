"""What a model computes, listed from its own forward: FLOPs, memory traffic and kernels, in letters."""
