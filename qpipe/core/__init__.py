"""The engine room: keys, store, graph, runner, events.

Standard library only. Nothing in here knows a model, a recipe, Hydra or pydantic: a node is a
stage name, plain parameters and inputs, and whatever does the work is passed in.
"""
