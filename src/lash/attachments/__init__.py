"""Attachments: bytes by content, who refers to them, and when nobody does any more."""
