"""What a store must do with triggers; see `lash.testing.conformance`."""
