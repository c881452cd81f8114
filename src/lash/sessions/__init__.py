"""Floor 3: sessions. What a session is, what may happen to it, and what a store must keep."""
