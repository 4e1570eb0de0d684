"""Calibration on held-out normal rows: p-values, scores out of fold, signs of contamination."""
