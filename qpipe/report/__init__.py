"""What came out of runs, for people and programs: rows, tables, live progress, event logs."""
