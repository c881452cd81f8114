"""Floor 1: the sans-IO turn. Messages, prompt, outcomes and the machine that drives one turn."""
