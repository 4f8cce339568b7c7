"""The stages of a pipeline, one file each. The interface is in base.py, the registry in find.py."""
