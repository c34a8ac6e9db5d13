"""How good a detector is: metrics with intervals, calibration, comparison."""
