"""Environments of engines whose pins clash with ours: how they are locked, made, and worked in.

Standard library only, like the core, but for packaging: what is here runs before anything heavy is
installed.
"""
