"""What can be said about tensors: declarations, expressions, numbers, selection, noise, and their readings."""
