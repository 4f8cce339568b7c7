"""Where jobs run: one file an executor, chosen by name."""
