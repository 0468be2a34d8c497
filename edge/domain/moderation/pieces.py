"""Long texts in pieces that a sentence encoder reads whole: it says little about many things at once."""

PIECE_CHARS = 168  # at most three tokens each, so that the model's 512 places always suffice
SHARED_CHARS = 48  # by two neighbours: no phrase up to this long is cut


def pieces_of(text: str) -> list[str]:
    """None of a blank text. Runs of white space count as one: they say nothing, and would pull a phrase apart."""
    text = " ".join(text.split())
    last = max(len(text) - SHARED_CHARS, 1 if text else 0)
    return [text[start : start + PIECE_CHARS] for start in range(0, last, PIECE_CHARS - SHARED_CHARS)]
