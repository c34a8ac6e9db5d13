"""Trained weights at work: logits, predictions, and the evidence behind them."""
