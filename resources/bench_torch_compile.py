#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times a network of `atlasscope bench` in PyTorch: eager, and by torch.compile.

The same plain network as engine/bench/plain_atlas.cpp (unfused convolutions, repeated and concatenated
keys, one scaled_dot_product_attention), with random weights. Needs torch and a C++ compiler.

    bench_torch_compile.py atlas_base_1024_b1 [THREADS]  ->  {"name": ..., "eager_s": ..., "compile_s": ...}
"""
import json
import re
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

WINDOW_CONFIGS = {
    # first width of the stem, width, dim, window, stages of (depth, heads, mlp ratio), nested parents
    "base": (64, 192, 768, 16, [(2, 12, 4), (10, 12, 4)], False),
    "small": (64, 48, 192, 16, [(2, 3, 4), (10, 3, 4)], False),
    "scenes": (16, 16, 64, 8, [(1, 2, 3), (2, 2, 3), (3, 2, 3)], True),
}
RATIO = 4


def to_windows(x, side):
    b, h, w, c = x.shape
    x = x.view(b, h // side, side, w // side, side, c).transpose(2, 3)
    return x.reshape(-1, side * side, c)


def to_raster(x, side, rows):
    c = x.shape[-1]
    x = x.view(-1, rows, rows, side, side, c).transpose(2, 3)
    return x.reshape(-1, rows * side, rows * side, c)


class Stem(nn.Module):
    def __init__(self, first, width, dim):
        super().__init__()
        conv = lambda i, o, s, bias: nn.Conv2d(i, o, 3, s, 1, bias=bias)
        self.entry = nn.Sequential(conv(3, first, 2, False), nn.BatchNorm2d(first), nn.ReLU(),
                                   conv(first, width, 2, False), nn.BatchNorm2d(width), nn.ReLU())
        unit = lambda c: nn.Sequential(conv(c, c, 1, True), nn.BatchNorm2d(c), nn.GELU(),
                                       conv(c, c, 1, True), nn.BatchNorm2d(c))
        self.units = nn.ModuleList([nn.ModuleList([unit(c) for _ in range(3)]) for c in (width, 2 * width)])
        self.norms = nn.ModuleList([nn.LayerNorm(c) for c in (width, 2 * width)])
        self.downs = nn.ModuleList([conv(width, 2 * width, 2, False), conv(2 * width, dim, 2, False)])

    def forward(self, x):
        x = self.entry(x)
        for units, norm, down in zip(self.units, self.norms, self.downs):
            for unit in units:
                x = x + unit(x)
            x = down(norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous())
        return x.permute(0, 2, 3, 1)


class ScaleBlock(nn.Module):
    def __init__(self, dim, heads, mlp):
        super().__init__()
        self.heads = heads
        self.norm_q, self.norm_kv, self.norm2 = (nn.LayerNorm(dim) for _ in range(3))
        self.q, self.kv, self.proj = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, dim * mlp), nn.Linear(dim * mlp, dim)
        self.position = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, dim, bias=False))

    def keys(self, x):
        return self.kv(self.norm_kv(x))

    def attend(self, x, kv):
        n, t, c = x.shape
        split = lambda y: y.reshape(n, -1, self.heads, c // self.heads).transpose(1, 2)
        k, v = kv.chunk(2, -1)
        a = F.scaled_dot_product_attention(split(self.q(self.norm_q(x))), split(k), split(v))
        x = x + self.proj(a.transpose(1, 2).reshape(n, t, c))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Atlas(nn.Module):
    def __init__(self, config, side, classes=100):
        super().__init__()
        first, width, dim, window, stages, self.nested = config
        self.stem = Stem(first, width, dim)
        self.scales = []  # side, window, rows
        n = side // 16
        while True:
            w = min(n, window)
            self.scales.append((n, w, n // w))
            if n <= window:
                break
            n //= RATIO
        self.stages = nn.ModuleList()
        for k, (depth, heads, mlp) in enumerate(stages):
            seen = len(self.scales) - min(k, len(self.scales) - 1)
            self.stages.append(nn.ModuleList(
                nn.ModuleList(ScaleBlock(dim, heads, mlp) for _ in range(seen)) for _ in range(depth)))
        self.norm, self.fc_norm, self.fc = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.Linear(dim, classes)
        for s, (_, w, _) in enumerate(self.scales):
            axis = (torch.arange(w) - w // 2) / (w // 2)
            grid = torch.stack([axis[:, None].expand(w, w), axis[None, :].expand(w, w)], -1)
            self.register_buffer(f"grid{s}", grid.reshape(w * w, 2).float())
            for t in range(s + 1, len(self.scales)):
                self.register_buffer(f"parent{s}_{t}", torch.tensor(self.parents(s, t)))

    def parents(self, s, t):
        fine, coarse = self.scales[s][2], self.scales[t][2]
        if self.nested:
            return [i // fine * coarse // fine * coarse + i % fine * coarse // fine for i in range(fine * fine)]
        return [i // (fine * fine // (coarse * coarse)) for i in range(fine * fine)]

    def block(self, weights, x, first):
        scales = self.scales[first:]
        count = len(scales)
        x = [x[i] + weights[i].position(getattr(self, f"grid{first + i}")) for i in range(count)]
        for i in range(count - 1):
            raster = to_raster(x[i], scales[i][1], scales[i][2]).permute(0, 3, 1, 2)
            x[i + 1] = x[i + 1] + to_windows(F.max_pool2d(raster, RATIO).permute(0, 2, 3, 1), scales[i + 1][1])
        shared = [None] * count
        for i in reversed(range(count)):
            images = x[i].shape[0] // scales[i][2] ** 2
            kv = [weights[i].keys(x[i])]
            for t in reversed(range(i + 1, count)):
                index = getattr(self, f"parent{first + i}_{first + t}")
                per = shared[t].view(images, -1, *shared[t].shape[1:])
                kv.append(per[:, index].flatten(0, 1))
            x[i] = weights[i].attend(x[i], torch.cat(kv, 1))
            shared[i] = weights[i].keys(x[i]) if i else None
        for i in range(1, count):
            tile = scales[i][0] // scales[i - 1][2]
            tiles = to_windows(to_raster(x[i], scales[i][1], scales[i][2]), tile)
            tiles = weights[i].attend(tiles, weights[i - 1].keys(x[i - 1]))
            x[i] = to_windows(to_raster(tiles, tile, scales[i - 1][2]), scales[i][1])
        return x

    def forward(self, image):
        token_map = self.stem(image)
        images = image.shape[0]
        x = []
        for s, (_, w, _) in enumerate(self.scales):
            if s:
                token_map = F.max_pool2d(token_map.permute(0, 3, 1, 2), RATIO).permute(0, 2, 3, 1)
            x.append(to_windows(token_map, w))
        first = 0
        for k, stage in enumerate(self.stages):
            for weights in stage:
                x = self.block(weights, x, first)
            if k + 1 < len(self.stages) and len(x) > 1:
                x, first = x[1:], first + 1
        tokens = torch.cat([y.reshape(images, -1, y.shape[-1]) for y in x], 1)
        return self.fc(self.fc_norm(self.norm(tokens).mean(1)))


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main():
    name = sys.argv[1]
    parts = re.fullmatch(r"atlas_(base|small|scenes)_(\d+)_b(\d+)", name)
    if not parts:
        sys.exit(f"{name}: not a whole network of the benchmark")
    if len(sys.argv) > 2 and int(sys.argv[2]) > 0:
        torch.set_num_threads(int(sys.argv[2]))
    kind, side, batch = parts.group(1), int(parts.group(2)), int(parts.group(3))
    with torch.inference_mode():
        network = Atlas(WINDOW_CONFIGS[kind], side).eval()
        image = torch.randn(batch, 3, side, side)
        compiled = torch.compile(network)
        gap = (compiled(image) - network(image)).abs().max().item()
        eager_s = compile_s = 1e9
        spent, rounds = 0, 0
        while rounds < 2 or (spent < 6 and rounds < 100):  # interleaved, as the benchmark does
            e, c = seconds(lambda: network(image)), seconds(lambda: compiled(image))
            eager_s, compile_s = min(eager_s, e), min(compile_s, c)
            spent, rounds = spent + e + c, rounds + 1
    print(json.dumps({"name": name, "eager_s": eager_s, "compile_s": compile_s, "largest_difference": gap}))


if __name__ == "__main__":
    main()
