"""A file for each form in which models leave: `qpipe export --to NAME`."""
