"""Where work items run: one file an executor, chosen by name."""
