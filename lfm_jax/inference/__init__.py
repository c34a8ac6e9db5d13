"""Trained weights in use: logits, predictions, and the evidence behind them."""
