"""What `qpipe doctor` looks at, a file for each kind; each gives a list of `Check`s."""
