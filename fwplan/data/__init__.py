"""From parquet files of text to token shards and exact counts; importing this package alone loads nothing heavy."""
