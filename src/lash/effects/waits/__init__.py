"""Durable waits: one-shot promises with signed keys (ARCHITECTURE D6, effects spec section 5)."""
