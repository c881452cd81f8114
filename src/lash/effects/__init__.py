"""Floor 2: the effect boundary. Model calls, tools, timers and waits cross it and are journaled."""
