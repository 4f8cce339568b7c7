"""What engines in environments of their own bring: requirements, lock, and the script in it.

Nothing here is imported by qpipe. NAME.in is what an engine wants, NAME.lock what it gets
(`qpipe engines lock NAME`), and NAME.py runs there, under `qpipe.environments.child_runtime`, on
the packages of the lock: it imports nothing of ours.
"""
