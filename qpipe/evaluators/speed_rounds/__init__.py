"""How fast a model is, and how much memory it takes.

``settings``     what is measured, and one round's figures
``llama``        a GGUF file in this process, through llama.cpp's C API
``checkpoint``   a checkpoint folder in this process, through transformers
``probe``        the program that holds one model and measures when it is told to
``rounds``       models in probes, or by llama-bench, measured in turn, and the statistics

The package imports nothing by itself; ``qpipe.evaluators.speed`` imports it when it measures.
"""
