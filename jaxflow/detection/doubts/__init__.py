"""What makes a fit worth little: too few rows, values far out; said in one sentence each."""
