"""Saying what a recipe computes, and what is odd about it, before anything runs."""
