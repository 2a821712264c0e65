"""A model of PyTorch's CUDA caching allocator: what a stream of allocations reserves, and whether it fits."""
