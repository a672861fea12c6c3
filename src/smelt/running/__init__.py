"""Carrying out a plan: the only loop over blocks, its workers, and what surrounds the weights in the output."""
