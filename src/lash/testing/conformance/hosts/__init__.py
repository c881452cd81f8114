"""The properties of effect hosts."""
