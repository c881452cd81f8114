"""Durable processes: work that lives for seconds or months, independent of any session."""
