"""`lash demo`: a turn that is killed, and the process that finishes it."""
