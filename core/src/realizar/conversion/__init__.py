"""From one format or element type to another: what stays the same, what is computed, what is refused."""
