#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""resources/export_timm.py for three families, by both doors, against timm itself.

    export_timm_test.py PROGRAM
"""
import csv
import pathlib
import subprocess
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")
EXPORT = pathlib.Path(__file__).resolve().parents[2] / "resources" / "export_timm.py"
sys.path.insert(0, str(EXPORT.parent))
try:
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    from export_timm import timm
except ImportError as missing:
    print(f"SKIPPED: {missing}")
    sys.exit(0)
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

TOLERANCE = 1e-4  # of any probability
SIDE = 224
# A convolutional network, one with shifted windows, one with attention over every patch.
FAMILIES = ["convnext_atto", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"]


def call(*arguments):
    return subprocess.run(list(map(str, arguments)), capture_output=True, text=True, timeout=280)


def probabilities(program, folder, model, image):
    out = folder / (model.name + "-out")
    done = call(program, "classify", image, "--model", model, "--trust-model", "--no-mask", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    tiles = next(out.rglob("tiles.csv"))
    return {(int(r["minx"]), int(r["miny"])): [float(r["prob_" + c]) for c in "abc"]
            for r in csv.DictReader(open(tiles))}


def main():
    program = sys.argv[1]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        image = folder / "scene.tif"
        assert call(program, "sample", "--size", 2 * SIDE, "--seed", 21, "--out", image).returncode == 0
        pixels = np.array(Image.open(image))[..., :3]
        worst = 0.0
        for family in FAMILIES:
            torch.manual_seed(11)
            model = timm.create_model(family, num_classes=3).eval()
            weights = {"module." + k: v.contiguous() for k, v in model.state_dict().items()}
            save_file(weights, folder / "weights.safetensors")
            mean, std = (torch.tensor(model.pretrained_cfg[k]).view(3, 1, 1) for k in ("mean", "std"))
            for kind, out in (("torchscript", folder / family), ("onnx", folder / f"{family}.onnx")):
                done = call(sys.executable, EXPORT, family, "--classes", "a", "b", "c", "--size", SIDE,
                            "--resolution", "0.5m", "--weights", folder / "weights.safetensors",
                            "--format", kind, "--out", out)
                assert done.returncode == 0, done.stdout + done.stderr
                got = probabilities(program, folder, out, image)
                assert len(got) == 4, got
                for (x, y), values in got.items():
                    tile = torch.from_numpy(pixels[y:y + SIDE, x:x + SIDE].copy()).permute(2, 0, 1)
                    with torch.no_grad():
                        wanted = model(((tile / 255 - mean) / std)[None]).softmax(1)[0]
                    worst = max(worst, max(abs(g - w) for g, w in zip(values, wanted.tolist())))
        assert worst <= TOLERANCE, worst
        bad = call(sys.executable, EXPORT, "convnext_ato", "--classes", "a", "--resolution", "1m",
                   "--out", folder / "bad")
        assert bad.returncode != 0 and "convnext_ato:" in bad.stderr and "convnext_atto" in bad.stderr, bad.stderr
        bad = call(sys.executable, EXPORT, "resnet18", "--classes", "a", "--resolution", "half",
                   "--out", folder / "bad")
        assert bad.returncode != 0 and "half" in bad.stderr, bad.stderr
        print(f"{len(FAMILIES)} families, two formats: largest difference of a probability {worst:.2g}")


if __name__ == "__main__":
    main()
