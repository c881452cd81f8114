"""Floor 4: the drivers. They perform what the turn machine asks for and keep accepted work going."""
