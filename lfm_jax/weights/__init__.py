"""Everything that reads or writes weights: files, checkpoints, and the card that says how to use them."""
