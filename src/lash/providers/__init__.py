"""Floor 5: model providers. Each wraps a vendor's official client behind `lash.llm.provider`."""
