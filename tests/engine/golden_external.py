# SPDX-License-Identifier: Apache-2.0
"""Golden cases of Atlas networks with external attention blocks, in the form of the other ones.

An implementation of its own in float64 NumPy, written from the definition in
engine/nn/external_attention.h and the specification of Atlas (sections 3 to 6 and 11); it shares
nothing with the program. Usage: golden_external.py FOLDER
"""
import json
import math
import struct
import sys
from pathlib import Path

import numpy as np

EPS = 1e-5
CASES = {
    # name: height, width, masked, attention of each block of the two stages
    "own_external_256": (256, 256, False, (["external", "multi_scale"], ["external"])),
    "own_external_masked_200x330": (200, 330, True, (["multi_scale", "external"], ["multi_scale"])),
}
DIM, HEADS, SLOTS, WINDOW, RATIO, CLASSES = 16, 2, 5, 8, 4, 4
STEM_FIRST, STEM = 6, 4


def norm(x, weights, name, eps=EPS):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * weights[name + ".weight"] + weights[name + ".bias"]


def linear(x, weights, name):
    y = x @ weights[name + ".weight"].T
    return y + weights[name + ".bias"] if name + ".bias" in weights else y


def gelu(x):
    return x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


class Weights(dict):
    """Made at their first use; the names and shapes that were asked for are the file."""

    def __init__(self, seed):
        super().__init__()
        self.random = np.random.default_rng(seed)

    def make(self, name, shape, spread=1.0, shift=0.0):
        if name not in self:
            values = self.random.normal(size=shape) * spread + shift
            self[name] = values.astype(np.float32).astype(np.float64)

    def linear(self, name, inputs, outputs, bias=True):
        self.make(name + ".weight", (outputs, inputs), 1 / math.sqrt(inputs))
        if bias:
            self.make(name + ".bias", (outputs,), 0.2)

    def norm(self, name, width):
        self.make(name + ".weight", (width,), 0.2, 1)
        self.make(name + ".bias", (width,), 0.2)

    def conv(self, name, inputs, outputs, bias):
        self.make(name + ".weight", (outputs, inputs, 3, 3), 1 / math.sqrt(9 * inputs))
        if bias:
            self.make(name + ".bias", (outputs,), 0.2)

    def batch_norm(self, name, width):
        self.norm(name, width)
        self.make(name + ".running_mean", (width,), 0.2)
        if name + ".running_var" not in self:
            self.make(name + ".running_var", (width,))
            self[name + ".running_var"] = np.abs(self[name + ".running_var"]) + 0.5


def conv(x, weights, name, stride):
    """[h, w, in] -> [ceil(h / stride), ceil(w / stride), out], padding 1."""
    height, width = (-(-n // stride) for n in x.shape[:2])
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    y = np.zeros((height, width, weights[name + ".weight"].shape[0]))
    for i in range(3):
        for j in range(3):
            part = padded[i : i + stride * height : stride, j : j + stride * width : stride]
            y += part[:height, :width] @ weights[name + ".weight"][:, :, i, j].T
    return y + weights.get(name + ".bias", 0)


def batch_norm(x, weights, name, eps):
    scale = weights[name + ".weight"] / np.sqrt(weights[name + ".running_var"] + eps)
    return (x - weights[name + ".running_mean"]) * scale + weights[name + ".bias"]


def stem(x, w):
    p = "atlas_models.0.patch_embed."
    for index, (inputs, outputs) in ((0, (3, STEM_FIRST)), (3, (STEM_FIRST, STEM))):
        w.conv(p + f"conv0.{index}", inputs, outputs, False)
        w.batch_norm(p + f"conv0.{index + 1}", outputs)
        x = conv(x, w, p + f"conv0.{index}", 2)
        x = np.maximum(batch_norm(x, w, p + f"conv0.{index + 1}", 1e-4), 0)
    for part, width, down in ((1, STEM, 2 * STEM), (2, 2 * STEM, DIM)):
        for unit in range(3):
            y = x
            for half in (1, 2):
                name = p + f"conv{part}.{unit}.conv_block{half}"
                w.conv(name + ".0", width, width, True)
                w.batch_norm(name + ".1", width)
                y = batch_norm(conv(y, w, name + ".0", 1), w, name + ".1", EPS)
                y = gelu(y) if half == 1 else y
            x = x + y
        w.norm(p + f"ds{part}.norm", width)
        w.conv(p + f"ds{part}.conv", width, down, False)
        x = conv(norm(x, w, p + f"ds{part}.norm", 1e-6), w, p + f"ds{part}.conv", 2)
    return x


class Scale:
    def __init__(self, x, valid):
        self.x, self.valid = x, valid
        self.side = len(x)
        self.window = min(self.side, WINDOW)
        self.rows = self.side // self.window

    def cells(self, side):
        """Slices of the windows of that side, row by row."""
        n = self.side // side
        return [
            (slice(i * side, (i + 1) * side), slice(j * side, (j + 1) * side))
            for i in range(n)
            for j in range(n)
        ]


def pool(x, valid):
    n = len(x) // RATIO
    kept = np.where(valid[..., None], x, -np.inf)
    most = kept.reshape(n, RATIO, n, RATIO, -1).max(axis=(1, 3))
    return np.where(np.isfinite(most), most, 0)


def heads_of(x):
    return x.reshape(len(x), HEADS, -1).transpose(1, 0, 2)


class Block:
    def __init__(self, weights, prefix, kind, sets):
        self.w, self.p, self.kind = weights, prefix, kind
        if kind == "external":
            weights.make(prefix + "memory.mk.weight", (SLOTS, DIM // HEADS), 1.0)
            weights.make(prefix + "memory.mv.weight", (DIM // HEADS, SLOTS), 1.0)
        for s in range(sets):
            weights.linear(prefix + f"posemb.{s}.projector.0", 2, 512)
            weights.linear(prefix + f"posemb.{s}.projector.2", 512, DIM, False)
            b = prefix + f"blocks.{s}."
            for name in ["norm1_q", "norm2"] + (["norm1_kv"] if kind != "external" else []):
                weights.norm(b + name, DIM)
            weights.linear(b + "attn.q", DIM, DIM)
            if kind != "external":
                weights.linear(b + "attn.kv", DIM, 2 * DIM)
            weights.linear(b + "attn.proj", DIM, DIM)
            weights.linear(b + "mlp.fc1", DIM, 2 * DIM)
            weights.linear(b + "mlp.fc2", 2 * DIM, DIM)

    def query(self, s, x):
        b = self.p + f"blocks.{s}."
        return heads_of(linear(norm(x, self.w, b + "norm1_q"), self.w, b + "attn.q"))

    def key_value(self, s, x):
        b = self.p + f"blocks.{s}."
        kv = linear(norm(x, self.w, b + "norm1_kv"), self.w, b + "attn.kv")
        return heads_of(kv[:, :DIM]), heads_of(kv[:, DIM:])

    def finish(self, s, x, attended):
        b = self.p + f"blocks.{s}."
        x = x + linear(attended.transpose(1, 0, 2).reshape(len(x), DIM), self.w, b + "attn.proj")
        hidden = gelu(linear(norm(x, self.w, b + "norm2"), self.w, b + "mlp.fc1"))
        return x + linear(hidden, self.w, b + "mlp.fc2")

    def position(self, s, side):
        u = (np.arange(side) - side // 2) / (side // 2)
        grid = np.stack(np.meshgrid(u, u, indexing="ij"), -1)
        name = self.p + f"posemb.{s}.projector."
        return linear(np.maximum(linear(grid, self.w, name + "0"), 0), self.w, name + "2")

    def external(self, q):
        """q: [heads, n, d] of the valid tokens of a window. Also what the slots take of each."""
        scores = q @ self.w[self.p + "memory.mk.weight"].T
        share = softmax(scores, axis=1)
        taken = share.sum(axis=2).mean(axis=0)
        share = share / (1e-9 + share.sum(axis=2, keepdims=True))
        return share @ self.w[self.p + "memory.mv.weight"].T, taken

    def run(self, scales, first, maps):
        for s, scale in enumerate(scales):
            tile = np.tile(self.position(s, scale.window), (scale.rows, scale.rows, 1))
            scale.x = np.where(scale.valid[..., None], scale.x + tile, 0)
        for fine, coarse in zip(scales, scales[1:]):
            coarse.x = coarse.x + pool(fine.x, fine.valid)
        for s in reversed(range(len(scales))):
            self.down(s, scales, first, maps)
        if self.kind != "external":
            for s in range(1, len(scales)):
                self.up(s, scales)

    def down(self, s, scales, first, maps):
        scale = scales[s]
        before = scale.x.copy()
        received = np.zeros(scale.x.shape[:2])
        for number, cell in enumerate(scale.cells(scale.window)):
            valid = scale.valid[cell]
            if not valid.any():
                continue
            x = before[cell][valid]
            if self.kind == "external":
                attended, taken = self.external(self.query(s, x))
                received[cell][valid] = taken
            else:
                keys = [self.key_value(s, x)]
                for t in range(len(scales) - 1, s, -1):
                    parent = number // (scale.rows**2 // scales[t].rows ** 2)
                    seen = scales[t].cells(scales[t].window)[parent]
                    if scales[t].valid[seen].any():
                        keys.append(self.key_value(t, scales[t].x[seen][scales[t].valid[seen]]))
                attended = self.attend(self.query(s, x), keys)
            scale.x[cell][valid] = self.finish(s, x, attended)
        if maps is not None and self.kind == "external":
            name = f".q{first + s}.k{first + s}"
            maps["attention.mass" + name] = scale.valid.astype(float)
            maps["attention.received" + name] = received
            maps[f"attention.received_total.k{first + s}"] = received

    def up(self, s, scales):
        fine, scale = scales[s - 1], scales[s]
        for keys, cell in zip(fine.cells(fine.window), scale.cells(scale.side // fine.rows)):
            valid = scale.valid[cell]
            if not valid.any():
                continue
            x = scale.x[cell][valid]
            pair = self.key_value(s - 1, fine.x[keys][fine.valid[keys]])
            scale.x[cell][valid] = self.finish(s, x, self.attend(self.query(s, x), [pair]))

    @staticmethod
    def attend(q, keys):
        k, v = (np.concatenate(part, axis=1) for part in zip(*keys))
        return softmax(q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[2]), axis=2) @ v


def windows_of(scale):
    cells = [scale.x[c].reshape(scale.window**2, DIM) for c in scale.cells(scale.window)]
    return np.stack(cells)


def legal_side(tokens):
    """The smallest legal square: m * 4^j with m a multiple of WINDOW / RATIO (section 11)."""
    if tokens <= WINDOW:
        return max(tokens, 2)
    return min(
        m * RATIO**j
        for j in range(1, 8)
        for m in range(1, WINDOW + 1)
        if RATIO * m > WINDOW and RATIO * m % WINDOW == 0 and m * RATIO**j >= tokens
    )


def make_case(folder, name, height, width, masked, kinds):
    random = np.random.default_rng(len(name))
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    w = Weights(seed=len(name) + 1)
    tokens = stem((image / 255 - mean) / std, w)
    rows, columns = tokens.shape[:2]
    mask = random.integers(0, 3, (rows, columns)) > 0 if masked else np.ones((rows, columns), bool)
    mask[: WINDOW // 2, 8:16] &= not masked  # and half a window of nothing
    side = legal_side(max(rows, columns))
    x, valid = np.zeros((side, side, DIM)), np.zeros((side, side), bool)
    x[:rows, :columns], valid[:rows, :columns] = tokens, mask
    scales = [Scale(np.where(valid[..., None], x, 0), valid)]
    while scales[-1].side > WINDOW:
        last = scales[-1]
        n = last.side // RATIO
        coarse = last.valid.reshape(n, RATIO, n, RATIO).any(axis=(1, 3))
        scales.append(Scale(pool(last.x, last.valid), coarse))
    io = {"image_u8": image.transpose(2, 0, 1)[None]}
    if masked:
        io["token_mask"] = mask[None].astype(np.uint8)
    stages = []
    first = 0
    for k, names in enumerate(kinds):
        for d, kind in enumerate(names):
            prefix = f"atlas_models.{k}.levels.0.blocks.{d}."
            maps = {} if d + 1 == len(names) else None
            Block(w, prefix, kind, len(scales)).run(scales, first, maps)
        for key, value in maps.items():
            io[f"stage{k}.{key}"] = value[None]
        for s, scale in enumerate(scales):
            io[f"stage{k}.scale{first + s}"] = windows_of(scale)
        stages.append(
            {
                "depth": len(names),
                "num_heads": HEADS,
                "mlp_ratio": 2,
                "weight_sets": len(scales),
                "block_attention": names,
                "memory_slots": SLOTS,
            }
        )
        if k + 1 < len(kinds) and len(scales) > 1:
            scales.pop(0)
            first += 1
    for n in ("readout_norm", "fc_norm"):
        w.norm(n, DIM)
    w.linear("fc", DIM, CLASSES)
    valid_tokens = np.concatenate([norm(s.x, w, "readout_norm")[s.valid] for s in scales])
    pooled = valid_tokens.mean(axis=0)
    io["pooled.mean"] = pooled[None]
    io["pooled.features"] = norm(pooled, w, "fc_norm")[None]
    io["logits"] = linear(io["pooled.features"], w, "fc")
    write(folder / f"{name}.io.safetensors", io)
    write(folder / f"{name}.weights.safetensors", w)
    config = {
        "image_mean": mean.tolist(),
        "image_std": std.tolist(),
        "stem_first_width": STEM_FIRST,
        "stem_width": STEM,
        "dim": DIM,
        "num_classes": CLASSES,
        "window_side": WINDOW,
        "pool_ratio": RATIO,
        "stages": stages,
    }
    record = {
        "name": name,
        "kind": "model",
        "about": "external attention in some blocks",
        "dtype": "float32",
        "tolerance": {"abs": 1e-4, "rel": 1e-4},
        "weights_file": f"{name}.weights.safetensors",
        "io_file": f"{name}.io.safetensors",
        "config": config,
    }
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1))


def write(path, tensors):
    """safetensors: the length of a JSON header, the header, the values."""
    header, parts, offset = {}, [], 0
    for name, tensor in tensors.items():
        tensor = np.ascontiguousarray(tensor)
        if tensor.dtype != np.uint8:
            tensor = tensor.astype(np.float32)
        data = tensor.tobytes()
        header[name] = {
            "dtype": "U8" if tensor.dtype == np.uint8 else "F32",
            "shape": tensor.shape,
            "data_offsets": [offset, offset + len(data)],
        }
        parts.append(data)
        offset += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for case, (h, width_px, is_masked, blocks) in CASES.items():
        make_case(target, case, h, width_px, is_masked, blocks)
        print(target / f"{case}.json")
