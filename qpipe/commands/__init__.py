"""One file per verb, or per group of verbs: `configure` adds arguments, `run` does it.

What a verb needs is imported inside it: `qpipe ls` must not wait for Hydra.
"""
