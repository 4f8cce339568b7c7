"""Published results as data: tables that somebody printed, with all that is known of how.

`schema` says what a table holds, `load` reads one and finds those that ship with qpipe.
"""
