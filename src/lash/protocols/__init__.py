"""Floor 3: turn protocols. Each is a pure driver for the turn machine."""
