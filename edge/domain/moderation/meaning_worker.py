"""The process that reads meanings for an edge: texts in, their nearness to the exemplars of each category out.

Alone in importing what runs the model. It has no secrets, writes to nothing but its pipe, and ends with it.
"""

import hashlib
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

from edge.domain.moderation.meaning_wire import LENGTH_BYTES, MAX_FRAME_BYTES, Answer, Exemplars, Question, framed

HERE = Path(__file__).parent / "minilm"
MODEL = HERE / "model.onnx"
MODEL_SHA256 = "30f28e2fbfadf6d1453714527af8a5bdf426d3dfc00297ec6ecb5f8168b3d22d"
MAX_TOKENS = 512  # the model has no more places; `semantics.PIECE_CHARS` keeps every text below
EXEMPLARS_AT_ONCE = 16
MEMORY_BYTES = 1024 * 1024 * 1024  # of address space; it uses a tenth of that
ONLY_ERRORS = 3


class WrongWeights(Exception):
    """The file is not the one that was measured."""


class Encoder:
    """Texts to rows of length one, (texts, 384): the dot product of two is the cosine. No text changes another's."""

    def __init__(self, model: Path = MODEL) -> None:
        """Raises WrongWeights, OSError."""
        weights = model.read_bytes()
        if hashlib.sha256(weights).hexdigest() != MODEL_SHA256:
            raise WrongWeights
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = ONLY_ERRORS
        self._session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
        self._tokenizer = BertWordPieceTokenizer(str(HERE / "vocab.txt"), lowercase=True)
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()

    def tokens(self, text: str) -> int:
        return len(self._tokenizer.encode(text).ids)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        read = self._tokenizer.encode_batch(list(texts))
        ids = np.array([text.ids for text in read], np.int64)
        mask = np.array([text.attention_mask for text in read], np.int32)
        (rows,) = self._session.run(["embedding"], {"ids": ids, "mask": mask})
        return np.asarray(rows, np.float32)


class Judge:
    """Knows the exemplars, as (texts, 384) of each category."""

    def __init__(self, encoder: Encoder, exemplars: Exemplars) -> None:
        self._encoder = encoder
        self._categories = [
            np.concatenate(
                [
                    encoder.encode(texts[start : start + EXEMPLARS_AT_ONCE])
                    for start in range(0, len(texts), EXEMPLARS_AT_ONCE)
                ]
            )
            for texts in exemplars.categories
        ]

    def answer(self, question: Question) -> Answer:
        rows = self._encoder.encode(question.texts)
        nearest = np.stack([(rows @ category.T).max(1) for category in self._categories], axis=1)
        return Answer(question.number, nearest.clip(0, 1).tolist())


def work(texts: BinaryIO, answers: BinaryIO, encoder: Encoder) -> None:
    """Until the pipe ends."""
    if (first := _read(texts)) is None:
        return
    exemplars = msgspec.msgpack.decode(first, type=Exemplars)
    judge = Judge(encoder, exemplars)
    _write(answers, len(exemplars.categories))
    while (body := _read(texts)) is not None:
        _write(answers, judge.answer(msgspec.msgpack.decode(body, type=Question)))


def _read(pipe: BinaryIO) -> bytes | None:
    """None where the edge has gone, or says what no edge says."""
    length = int.from_bytes(pipe.read(LENGTH_BYTES), "big")
    if not 0 < length <= MAX_FRAME_BYTES:
        return None
    body = pipe.read(length)
    return body if len(body) == length else None


def _write(pipe: BinaryIO, message: Answer | int) -> None:
    pipe.write(framed(msgspec.msgpack.encode(message)))
    pipe.flush()


def main() -> None:
    """Whatever a library prints goes to standard error, so that only answers are on the pipe."""
    if sys.platform == "linux":  # others count what is not memory, or refuse
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    work(sys.stdin.buffer, answers, Encoder())


if __name__ == "__main__":
    main()
