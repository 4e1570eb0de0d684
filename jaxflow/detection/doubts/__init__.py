"""Doubts about a fit: too few rows, values far out; said in one sentence each."""
