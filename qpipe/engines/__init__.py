"""The engines that quantize, one file each; qpipe/stages/find.py finds them by file."""
