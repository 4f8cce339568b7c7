"""Advice: which format, engine and runtime for a model, a machine and a need, and why.

``rules.yaml``  the field's rules as data, each with its source; ``rulebook`` reads them
``hardware``    what a machine has: cards by name or memory, RAM, generations of GPUs
``needs``       what is asked for, and what of it contradicts
``evidence``    figures of quality and speed, and how far they transfer
``candidates``  formats with the fields that make them
``ranking``     rows, best first, and what is left out
``levers``      what helps where nothing fits
``page``        docs/choosing.md and its Chinese twin
"""
