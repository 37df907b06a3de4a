#!/usr/bin/env python3
"""Turns an original Atlas checkpoint (.ckpt, .pt) into a model folder of AtlasScope.

    convert_checkpoint.py latest.ckpt OUT_DIR --class-names names.txt --spacing-um 0.5 [...]

The file is a pickle: loading it runs code. Convert only checkpoints from a source you trust.
Sizes are read from the weights; what they do not hold (heads, image side, window side, pool
ratio, class names, resolution) is given here. Defaults are those of the published base network.
"""
import argparse
import json
import re
import sys
import types
from pathlib import Path

import torch
from safetensors.torch import save_file

PREFIXES = ("module.", "_orig_mod.", "model.")


def load_weights(path):
    """The state dict of a trusted checkpoint, without wrapper prefixes."""
    if "easydict" not in sys.modules:  # `args` of the original is an EasyDict; a dict will do
        stub = types.ModuleType("easydict")
        stub.EasyDict = type("EasyDict", (dict,), {"__module__": "easydict"})
        sys.modules["easydict"] = stub
    content = torch.load(path, map_location="cpu", weights_only=False)
    weights = content.get("model", content)
    if not all(torch.is_tensor(v) for v in weights.values()):
        sys.exit(f"{path}: holds no state dict under 'model'")
    for prefix in PREFIXES * 2:
        if weights and all(name.startswith(prefix) for name in weights):
            weights = {name[len(prefix):]: value for name, value in weights.items()}
    return weights


def find_network(weights, args):
    """The `network` block of config.json, from the shapes of the weights."""
    classes, dim = weights["fc.weight"].shape
    stem = "atlas_models.0.patch_embed."
    first = weights[stem + "conv0.0.weight"]
    stages = []
    while f"atlas_models.{len(stages)}.levels.0.blocks.0.blocks.0.attn.q.weight" in weights:
        prefix = f"atlas_models.{len(stages)}.levels.0.blocks."
        depth = 1 + max(int(m[1]) for n in weights if (m := re.match(re.escape(prefix) + r"(\d+)\.", n)))
        sets = 1 + max(int(m[1]) for n in weights if (m := re.match(re.escape(prefix) + r"0\.posemb\.(\d+)\.", n)))
        hidden = weights[prefix + "0.blocks.0.mlp.fc1.weight"].shape[0]
        stages.append({
            "depth": depth,
            "num_heads": args.heads or max(1, dim // 64),
            "mlp_ratio": hidden / dim,
            "qkv_bias": prefix + "0.blocks.0.attn.q.bias" in weights,
            "weight_sets": sets,
        })
    if not stages:
        sys.exit("the checkpoint holds no Atlas stages (atlas_models.K...)")
    return {
        "in_channels": first.shape[1], "stem_first_width": first.shape[0],
        "stem_width": weights[stem + "conv0.3.weight"].shape[0], "dim": dim, "num_classes": classes,
        "window_side": args.window_side, "pool_ratio": args.pool_ratio, "max_scales": 0,
        "window_mapping": "raster", "stages": stages,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--name", help="default: the file's name")
    parser.add_argument("--class-names", type=Path, help="one a line; default: class 0, class 1, ...")
    parser.add_argument("--spacing-um", type=float, required=True, help="microns a model pixel; 300000 for 0.3 m")
    parser.add_argument("--image-side", type=int, default=1024)
    parser.add_argument("--heads", type=int, default=0, help="default: heads of 64 channels")
    parser.add_argument("--window-side", type=int, default=16)
    parser.add_argument("--pool-ratio", type=int, default=4)
    parser.add_argument("--licence", default="")
    args = parser.parse_args()

    weights = load_weights(args.checkpoint)
    network = find_network(weights, args)
    count = network["num_classes"]
    names = [f"class {i}" for i in range(count)]
    if args.class_names:
        names = [line.strip() for line in args.class_names.read_text().splitlines() if line.strip()]
    if len(names) != count or len(set(names)) != count:
        sys.exit(f"{args.class_names}: {len(names)} names, but the network has {count} classes (names must be unique)")
    ground = args.spacing_um >= 10000
    config = {
        "spec_version": "1.0", "architecture": "atlas", "num_classes": count, "class_names": names,
        "patch_size_pixels": args.image_side, "spacing_um_px": args.spacing_um,
        "transform": [
            {"name": "Resize", "arguments": {"size": args.image_side}}, {"name": "ToTensor"},
            {"name": "Normalize", "arguments": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}},
        ],
        "atlas": {
            "name": args.name or args.checkpoint.stem, "description": f"converted from {args.checkpoint.name}",
            "licence": args.licence, "resolution_unit": "m" if ground else "um", "network": network,
            "training_record": {"converted_from": args.checkpoint.name},
        },
    }
    args.out.mkdir(parents=True, exist_ok=True)
    save_file({n: v.contiguous() for n, v in weights.items()}, str(args.out / "model.safetensors"))
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    print(f"{args.out}: {len(network['stages'])} stages, dim {network['dim']}, {count} classes")


if __name__ == "__main__":
    main()
