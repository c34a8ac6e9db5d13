"""Images in: files, folders, protocols and training batches. Knows no network."""
