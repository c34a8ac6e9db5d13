"""The method as pure functions of arrays and keys. Imports jax and numpy, nothing else."""
