"""What is measured of a model, one evaluator a file; qpipe/stages/find.py finds them by file."""
