"""Looking at an output again: whether it is what its provenance says, and whether its recipe gives it once more."""
