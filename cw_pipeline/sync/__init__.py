"""How an entity is kept in step with its list: by changes, whole, or parent by parent."""
