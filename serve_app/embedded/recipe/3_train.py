"""The denoiser, rectified flow over patch PCA, for `3_train.py MINUTES`: unet/, pca.pt, and grids of samples on the way."""

import copy
import math
import sys
import time

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from PIL import Image

torch.set_num_threads(2)
torch.manual_seed(0)
T = float(sys.argv[1]) * 60
D = torch.load("prep.pt")
E = D["E"]
key = D["key"]
rgba = D["rgba"].float()
cols = D["cols"]
null = E[-1]
N = len(E) - 1
P = 8
K = 48


def pat(x):
    return F.pixel_unshuffle(x, P)  # B,192,8,8


# PCA over composites
with torch.no_grad():
    bg = cols[torch.randint(0, 10, (len(rgba) * 4,))][:, :, None, None]
    r = rgba.repeat(4, 1, 1, 1)
    x = (r[:, :3] * r[:, 3:] + bg * (1 - r[:, 3:])) * 2 - 1
    q = pat(x).permute(0, 2, 3, 1).reshape(-1, 192)
    mu = q.mean(0)
    _, S, V = torch.linalg.svd(q[torch.randperm(len(q))[:30000]] - mu, full_matrices=False)
    W = V[:K]
    sd = ((q - mu) @ W.T).std(0)
    print("pca l1", (((q - mu) @ W.T) @ W + mu - q).abs().mean().item(), "sd", sd[0].item(), sd[-1].item())


def enc(x):
    return (((pat(x).permute(0, 2, 3, 1) - mu) @ W.T) / sd).permute(0, 3, 1, 2).contiguous()


def dec(z):
    return F.pixel_shuffle(((z.permute(0, 2, 3, 1) * sd) @ W + mu).permute(0, 3, 1, 2), P)


wt = (sd / sd.mean()).clamp(0.15, 4)[None, :, None, None]
wt = wt / wt.mean()
C = "CrossAttnDownBlock2D"
U = "CrossAttnUpBlock2D"
m = UNet2DConditionModel(
    sample_size=8,
    in_channels=K,
    out_channels=K,
    layers_per_block=1,
    block_out_channels=(128, 192),
    down_block_types=(C, C),
    up_block_types=(U, U),
    cross_attention_dim=384,
    attention_head_dim=32,
    norm_num_groups=16,
).to(memory_format=torch.channels_last)
ema = copy.deepcopy(m).requires_grad_(False)
o = torch.optim.AdamW(m.parameters(), 1e-3, betas=(0.9, 0.99), weight_decay=1e-3)
B = 64


def batch():
    i = torch.randint(0, N, (B,))
    k = key[i]
    r = rgba[k[:, 0]]
    bg = cols[k[:, 1]][:, :, None, None]
    x = (r[:, :3] * r[:, 3:] + bg * (1 - r[:, 3:])) * 2 - 1
    c = E[i].float()
    c[torch.rand(B) < 0.1] = null.float()
    return x, c


@torch.no_grad()
def sample(net, c, steps=12, cfg=2.0, seed=0):
    g = torch.Generator().manual_seed(seed)
    n = len(c)
    x = torch.randn(n, K, 8, 8, generator=g)
    s = torch.linspace(1, 0, steps + 1)
    for a, b in zip(s[:-1], s[1:]):
        v = net(torch.cat([x, x]), a * 1000, torch.cat([null.float()[None].repeat(n, 1, 1), c])).sample
        u, w = v.chunk(2)
        v = u + cfg * (w - u)
        x = x + (b - a) * v
    return dec(x)


def grid(fn):
    want = [
        "red apple",
        "a dog",
        "rocket on a blue background",
        "a cat",
        "pizza",
        "a red heart",
        "sunflower",
        "penguin on a purple background",
        "guitar",
        "automobile",
        "castle",
        "a hot dog",
        "house",
        "robot",
        "mushroom",
        "tiger",
    ]
    lab = D["caps"]
    idx = []
    for w in want:
        idx.append(
            next((j for j, cp in enumerate(lab) if cp == w), None)
            or next(j for j, cp in enumerate(lab) if w.split(" on ")[0].split(" ", 1)[-1] in cp)
        )
    im = sample(ema, E[idx].float())
    im = ((im.clamp(-1, 1) + 1) * 127.5).byte()
    rows = torch.cat([torch.cat(list(im[:8]), 2), torch.cat(list(im[8:]), 2)], 1).permute(1, 2, 0).numpy()
    Image.fromarray(rows).resize((1024, 256)).save(fn)
    print([lab[j] for j in idx], flush=True)


s = time.time()
k = 0
acc = 0
while (el := time.time() - s) < T:
    lr = 1.2e-3 * min(1, k / 200) * (0.5 + 0.5 * math.cos(math.pi * el / T)) + 1e-5
    for g in o.param_groups:
        g["lr"] = lr
    x, c = batch()
    z = enc(x)
    e = torch.randn_like(z)
    t = torch.sigmoid(torch.randn(B) * 1.2 + 0.3)
    t4 = t[:, None, None, None]
    v = m(((1 - t4) * z + t4 * e).contiguous(memory_format=torch.channels_last), t * 1000, c).sample
    l = (wt * (v - (e - z)) ** 2).mean()
    l.backward()
    torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
    o.step()
    o.zero_grad()
    k += 1
    d = min(0.999, 1 - 1 / (k / 10 + 1))
    with torch.no_grad():
        for p, q in zip(ema.parameters(), m.parameters()):
            p.lerp_(q, 1 - d)
    acc += l.item()
    if k % 50 == 0:
        print(k, f"{el:.0f}s loss {acc / 50:.4f}", flush=True)
        acc = 0
    if k % 500 == 0:
        grid(f"g{k}.png")
        ema.save_pretrained("unet")
        torch.save(dict(mu=mu, W=W, sd=sd), "pca.pt")
grid("final.png")
ema.save_pretrained("unet")
torch.save(dict(mu=mu, W=W, sd=sd, null=null), "pca.pt")
