"""What every layer stands on: random draws, devices, processes, storage, progress, timing. Knows nothing of images."""
