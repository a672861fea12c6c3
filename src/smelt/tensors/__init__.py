"""What a checkpoint is: dtypes, headers, positional reads, header-first writing, locating."""
