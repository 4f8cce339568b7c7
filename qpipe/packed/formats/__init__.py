"""The formats of packed checkpoints, one file each, found by file (`qpipe.packed.structure`)."""
