"""Exported models in WSInfer's layout: the same probabilities as a plain Python run of its rules."""
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

program = sys.argv[1]
MPP = 0.499


class Net(torch.nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 7, 4), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 5, 4), torch.nn.ReLU())
        self.head = torch.nn.Linear(16, outputs)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3))) * 4


def model_folder(folder, outputs, patch, size):
    torch.manual_seed(outputs)
    folder.mkdir()
    net = Net(outputs).eval()
    torch.jit.script(net).save(str(folder / "torchscript_model.pt"))
    config = {
        "spec_version": "1.0", "architecture": "test", "num_classes": outputs,
        "class_names": ["tumor", "stroma", "glass"][:outputs], "patch_size_pixels": patch, "spacing_um_px": 0.25,
        "transform": [
            {"name": "Resize", "arguments": {"size": size}}, {"name": "ToTensor"},
            {"name": "Normalize", "arguments": {"mean": [0.7238, 0.5716, 0.6779], "std": [0.112, 0.1459, 0.1089]}}]}
    (folder / "config.json").write_text(json.dumps(config))
    return net, config


def by_the_rules(net, config, pixels, x, y, side):
    """WSInfer: read a whole patch of level 0, then the transforms in their order.

    Outside of the slide OpenSlide gives transparent pixels; converted to RGB, they are black.
    """
    patch = np.zeros((side, side, 3), np.uint8)
    inside = pixels[y:y + side, x:x + side]
    patch[:inside.shape[0], :inside.shape[1]] = inside
    image = Image.fromarray(patch)
    for step in config["transform"]:
        arguments = step.get("arguments", {})
        if step["name"] == "Resize":
            image = image.resize((arguments["size"],) * 2, Image.Resampling.BILINEAR)
        elif step["name"] == "ToTensor":
            tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        else:
            mean, std = (torch.tensor(arguments[k])[:, None, None] for k in ("mean", "std"))
            tensor = (tensor - mean) / std
    with torch.no_grad():
        logits = net(tensor[None])
    return (logits.sigmoid() if config["num_classes"] == 1 else logits.softmax(1))[0].numpy()


with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    random = np.random.default_rng(3)
    coarse = Image.fromarray(random.integers(0, 256, (40, 55, 3), dtype=np.uint8)).resize((1100, 800), Image.Resampling.BICUBIC)
    pixels = (np.array(coarse).astype(int) + random.integers(-20, 20, (800, 1100, 3))).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "slide.png")
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder / "data")}

    def classify(model, *more):
        return subprocess.run(
            [program, "classify", str(folder / "slide.png"), "--model", str(model), "--out", str(folder / "out"),
             "--resolution", f"{MPP}um", "--no-mask", "--json", "--device", "cpu", *more],
            env=environment, capture_output=True, text=True)

    worst = over_the_edge = 0
    for outputs, patch, size in ((2, 350, 224), (1, 350, 224), (3, 200, 300)):
        model = folder / f"model{outputs}"
        net, config = model_folder(model, outputs, patch, size)
        # Code is asked for, with its hash, and remembered.
        refused = classify(model)
        digest = hashlib.sha256((model / "torchscript_model.pt").read_bytes()).hexdigest()
        assert refused.returncode != 0 and digest in refused.stderr, refused.stderr
        first, second = classify(model, "--trust-model"), classify(model, "--trust-model")
        assert first.returncode == 0 and second.returncode == 0, first.stderr + second.stderr
        said = "trusted from now on"  # once
        assert said in first.stderr and digest in first.stderr and said not in second.stderr, second.stderr
        again = classify(model, "--attention")  # another run, trusted now
        assert again.returncode == 0, again.stderr
        result = json.loads(again.stdout)[0]
        side = round(patch * 0.25 / MPP)
        compared = 0
        with open(Path(result["folder"]) / "tiles.csv") as file:
            for row in csv.DictReader(file):
                x, y = float(row["minx"]), float(row["miny"])
                assert x % side == 0 and y % side == 0, row
                assert (float(row["width"]), float(row["height"])) == (side, side), row
                over_the_edge += x + side > pixels.shape[1] or y + side > pixels.shape[0]
                expected = by_the_rules(net, config, pixels, int(x), int(y), side)
                for name, value in zip(config["class_names"], expected):
                    worst = max(worst, abs(float(row["prob_" + name]) - value))
                compared += 1
        assert compared >= 20, compared
        assert not (Path(result["folder"]) / "mass.tif").exists()
        # A file that changed is another file.
        with open(model / "torchscript_model.pt", "ab") as file:
            file.write(b"more")
        assert classify(model, "--overlap", "0.5").returncode != 0
    print(f"largest difference of a probability: {worst:.2e}")
    assert worst < 1e-4
    assert over_the_edge >= 10, over_the_edge

    broken = folder / "broken"
    model_folder(broken, 2, 350, 224)
    (broken / "torchscript_model.pt").write_bytes(b"no archive")
    answer = classify(broken, "--trust-model")
    assert answer.returncode != 0 and "torchscript_model.pt" in answer.stderr, answer.stderr
    config = json.loads((broken / "config.json").read_text())
    config["transform"].insert(0, {"name": "CenterCrop", "arguments": {"size": 10}})
    (broken / "config.json").write_text(json.dumps(config))
    answer = classify(broken, "--trust-model")
    assert answer.returncode != 0 and "CenterCrop" in answer.stderr, answer.stderr
