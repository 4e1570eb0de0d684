"""Answers for rows of files and for JSON lines as they come."""
