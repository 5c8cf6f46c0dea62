"""Programs that run in the rivals' environments."""
