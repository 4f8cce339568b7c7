"""Use cases as functions that return values and print nothing: what the verbs and Python call."""
