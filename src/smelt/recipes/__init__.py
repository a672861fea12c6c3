"""What the user wrote: nouns, reading with line numbers, values of settings, writing, building from Python."""
