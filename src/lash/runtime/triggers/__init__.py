"""Triggers at work: declaring events, emitting them, and starting what they mean."""
