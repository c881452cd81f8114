"""Triggers: what happens outside starts processes and speaks to sessions, for whoever subscribed."""
