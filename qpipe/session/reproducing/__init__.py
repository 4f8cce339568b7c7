"""Published results beside our own: what of a table is run, found and judged."""
