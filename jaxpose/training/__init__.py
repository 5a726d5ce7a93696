"""State, step, optimisers, checkpoints, loop, writers: training of any method."""
