"""The gate: what a model lost beside what it may lose, and whether the data tell.

``bounds`` reads what may be lost, ``evidence`` what was measured; ``paired_items`` and
``window_means`` are the statistics, ``verdicts`` decides.
"""
