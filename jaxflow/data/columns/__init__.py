"""What the columns of a table hold, and the numbers that models are given instead."""
