"""Where images lie until they go: the key that says when, the sealing, and two stores behind one protocol."""
