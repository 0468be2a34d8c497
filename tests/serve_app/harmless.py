"""A check of pictures that finds nothing: for tests of what else happens to a picture."""

from serve_app.pipelines.pipeline import Picture


class Harmless:
    """Implements `Safety`."""

    def check(self, picture: Picture, *, adult: bool) -> None:
        pass
