"""What may not be made: how a prompt is read, what it says, and what is remembered of a refusal."""
