"""CSV files of many dialects: separators, encodings, numbers as people write them."""
