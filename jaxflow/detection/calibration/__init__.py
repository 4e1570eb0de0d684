"""What held-out normal rows say of scores: p-values, scores out of fold, signs of contamination."""
