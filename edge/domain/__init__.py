"""Business rules as functions; no HTTP here."""
