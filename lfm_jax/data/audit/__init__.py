"""`lfm data check`: what a folder holds, what is wrong with it, and what its file formats give away."""
