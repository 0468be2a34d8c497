"""Everything a customer or a browser touches."""
