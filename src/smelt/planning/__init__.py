"""What will be done: a recipe becomes a plan, from headers alone."""
