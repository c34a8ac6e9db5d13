"""`lfm bench`: how fast the network trains and scores here, how close that is to what the machine can do, and PyTorch beside it."""
