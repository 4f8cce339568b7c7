"""Programs that run models, and where: what each runs, takes beside weights and cache, and on what.

``formats``   names of formats, the section ``quantize`` behind each, and which runtimes run it
``overheads`` what a runtime takes beside weights, cache and buffers (data/runtimes.json)
``architectures`` classes of models that a runtime does not know
``contexts``  tokens of context where nobody names any
``cards``     accelerators by name or memory (data/cards.json)
"""
