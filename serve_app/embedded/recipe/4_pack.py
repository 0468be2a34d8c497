"""What ships: weights in half precision, patches, subjects, reference cases with their latents, and a sheet of samples."""

import json
import sys
import time
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors.torch import save_file

out = Path(__file__).resolve().parent.parent
m = UNet2DConditionModel.from_pretrained("unet")
m.half().save_pretrained(out / "unet", safe_serialization=True)
p = torch.load("pca.pt")
save_file(
    dict(mean=p["mu"].contiguous(), basis=p["W"].contiguous(), scale=p["sd"].contiguous()), out / "patches.safetensors"
)
cfg = json.load(open(out / "unet/config.json"))
cfg.pop("_name_or_path", None)
json.dump(cfg, open(out / "unet/config.json", "w"), indent=1)
D = torch.load("prep.pt")
(out / "subjects.txt").write_text("\n".join(sorted(set(D["labels"]))) + "\n")
sys.path.insert(0, str(out))
from reference import EmbeddedModel

e = EmbeddedModel()
cases = [
    ("a red apple", 0, 12, 2.0),
    ("a dog on a green background", 1, 4, 1.0),
    ("rocket on a blue background", 2, 28, 3.0),
    ("", 3, 8, 1.0),
    ("sunflower", 4, 50, 2.0),
    (
        "a purple guitar with a yellow background and far too many further words for its small encoder to read",
        5,
        10,
        2.0,
    ),
]
lat = {f"case{i}": e.sample(*c) for i, c in enumerate(cases)}
save_file(lat, out / "reference_latents.safetensors")
json.dump(
    [dict(prompt=a, seed=b, steps=c, guidance=d) for a, b, c, d in cases],
    open(out / "reference_cases.json", "w"),
    indent=1,
)
want = [
    "a red apple",
    "a dog",
    "rocket on a blue background",
    "a cat",
    "pizza",
    "a red heart",
    "sunflower on a green background",
    "penguin on a purple background",
    "guitar",
    "a car",
    "castle",
    "hot dog",
    "house",
    "robot on a yellow background",
    "mushroom",
    "tiger",
    "a puppy",
    "kitten on a pink background",
    "a ship on the sea",
    "an evil clown",
    "strawberry cake",
    "a wizard",
    "a violin, black background",
    "fast food",
]
s = time.time()
im = [e.decode(e.sample(w, seed=0))[0] for w in want]
print((time.time() - s) / len(want), "s each")
g = torch.cat([torch.cat(im[r * 8 : (r + 1) * 8], 1) for r in range(3)], 0)
Image.fromarray(g.numpy()).resize((8 * 128, 3 * 128), Image.BICUBIC).save(out / "samples.png")
