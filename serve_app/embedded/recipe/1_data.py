"""Pictures of 64 x 64 pixels, RGBA, with their names: imgs.npy, meta.json, and grid.png to look at."""

import io
import json
import random
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

R = Path("packages")
SZ = 64
eb = {e["hexcode"].upper(): e for e in json.load(open(R / "emojibase-data-17.0.0/package/en/data.json"))}
ds = json.load(open(R / "emoji-datasource-google-16.0.0/package/emoji.json"))
fl = json.load(open(R / "iconify-json-fluent-emoji-1.2.7/package/icons.json"))["icons"]
keep = {
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Objects",
    "Activities",
    "Smileys & Emotion",
    "People & Body",
    "Symbols",
}
out = []
imgs = []
for e in ds:
    if not e["has_img_google"] or e["category"] not in keep:
        continue
    hexs = e["unified"].replace("-FE0F", "")
    b = eb.get(e["unified"]) or eb.get(hexs)
    if not b:
        continue
    if e["category"] == "Symbols" and not any(
        w in b["label"] for w in ("heart", "circle", "square", "diamond", "star")
    ):
        continue
    if e["category"] == "People & Body" and len(e["unified"].split("-")) > 1:
        continue
    label = b["label"]
    tags = [t for t in b.get("tags", []) if len(t) > 2][:6]
    p = R / "emoji-datasource-google-16.0.0/package/img/google/64" / (e["unified"].lower() + ".png")
    im = Image.open(p).convert("RGBA").resize((SZ, SZ), Image.LANCZOS)
    out.append(dict(label=label, tags=tags, style="noto"))
    imgs.append(np.array(im))
    key = (
        label.lower()
        .replace(" ", "-")
        .replace("’", "")
        .replace("'", "")
        .replace(":", "")
        .replace("“", "")
        .replace("”", "")
    )
    if key in fl:
        svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">' + fl[key]["body"] + "</svg>"
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SZ, height=SZ))
        out.append(dict(label=label, tags=tags, style="fluent"))
        imgs.append(np.array(Image.open(io.BytesIO(png)).convert("RGBA")))
imgs = np.stack(imgs)
print(imgs.shape, sum(o["style"] == "fluent" for o in out), len({o["label"] for o in out}))
np.save("imgs.npy", imgs)
json.dump(out, open("meta.json", "w"))
grid = Image.new("RGBA", (64 * 20, 64 * 10), "white")
for k, i in enumerate(random.Random(0).sample(range(len(imgs)), 200)):
    t = Image.fromarray(imgs[i])
    grid.paste(t, ((k % 20) * 64, (k // 20) * 64), t)
grid.convert("RGB").save("grid.png")
