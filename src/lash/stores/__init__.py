"""Floor 5: stores. Each keeps the contract of `lash.sessions.store` and `lash.effects.journal`."""
