"""lash beside what people would use instead, and beside what the machine can do at best: one run, one table."""
