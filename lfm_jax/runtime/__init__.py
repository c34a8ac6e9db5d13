"""What every layer stands on: config fields, random draws, devices, processes, storage, progress, timing. No images here."""
