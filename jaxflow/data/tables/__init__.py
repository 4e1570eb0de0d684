"""Tables of the user as files and frames: CSV, Parquet, NPZ, Arrow, pandas, polars."""
