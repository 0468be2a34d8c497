"""One request in, images out: the GPU side of Sfumato."""
