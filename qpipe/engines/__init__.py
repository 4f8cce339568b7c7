"""The stages that make models, one file each; qpipe/stages/registry.py finds them by file."""
