"""What backends in environments of their own bring: requirements, lock, and the script in it.

Nothing here is imported by qpipe. NAME.in is what a backend wants, NAME.override what it wants in
vain, NAME.lock what it gets (`qpipe engines lock NAME`). The script runs there, under
`qpipe.environments.child_server`, on the packages of the lock: it imports nothing of ours.
"""
