"""Helpers that are tied to no room; standard library only.

``files``         files of somebody else, opened without waiting and read up to a bound
``inside``        names of somebody else as places inside one folder
``strict_json``   JSON of somebody else
``patterns``      regular expressions of somebody else, matched in linear time
``quantities``    sizes and ages as people write them
``extras``        the command that installs an extra of qpipe
``bounded_pool``  work in threads, a bounded number of jobs ahead
``closable``      objects that are closed on leaving ``with``
"""
