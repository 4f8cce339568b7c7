"""Checkpoints as other tools write them: what their tensors hold, and whether all is there."""
