"""Model families behind one staged protocol; torch lives here."""
