"""Looking at models: what they differ in, and what stands in their files."""
