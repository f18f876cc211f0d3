"""Makes a trained pipeline smaller and quicker. Reads and writes whole pipelines; next: cli."""
