"""What every store must do with processes: registry, leases, ends, wakes, and the feed of changes."""
