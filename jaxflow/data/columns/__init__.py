"""Columns of a table: what they hold, and the numbers that models are given instead."""
