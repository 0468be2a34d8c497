"""How much a caller may ask for: counted in windows that edges share, exactly where they can, strictly where not."""
