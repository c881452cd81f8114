"""Floor 1: what is asked of a model and what comes back. Pure data and pure retry decisions."""
