"""The method as pure functions of arrays and keys; imports jax and numpy, nothing else."""
