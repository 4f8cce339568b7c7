"""Published results as data: tables that somebody printed, with all that is known of how.

``schema``, ``load``, ``selection``   what a table holds, reading one, choosing rows
``lint``, ``rules``                   what in a table contradicts itself
``figures``, ``comparable``           our figure beside a published one
``tolerance``, ``verdict``            how far they may be apart, and what comes of it
``reproduction``, ``render``, ``page``  all values together, and how they are shown
``of_run``                            a run of ours as such a table
"""
