"""The ways an entity is read: by window, whole, or parent by parent."""
