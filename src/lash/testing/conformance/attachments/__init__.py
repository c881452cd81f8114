"""The properties of attachments; see `suite` and `blobs`."""
