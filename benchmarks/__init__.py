"""How fast smelt is, how much memory it takes, and whether other tools agree with it; see docs/benchmarks.md."""
