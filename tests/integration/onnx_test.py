#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ONNX models with Deepness' metadata against a plain Python run of ONNX Runtime.

    onnx_test.py PROGRAM

Exports small networks with random weights (a convolutional classifier, one with attention, two
segmentation networks), classifies a synthetic scene with the program, and compares every
probability and every pixel's class. Then files that are broken or lack a key.
"""
import csv
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")
try:
    import onnx
    import onnxruntime
except ImportError as missing:
    print(f"SKIPPED: {missing}")
    sys.exit(0)
import numpy as np
import torch
from PIL import Image

Image.MAX_IMAGE_PIXELS = None
TOLERANCE = 1e-4  # of any probability
CM = 50  # a synthetic scene has half a metre a pixel


class Small(torch.nn.Module):
    def __init__(self, classes, gain=20, shift=0):
        super().__init__()
        self.gain, self.shift = gain, shift
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 5, 2, 2), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 3, 2, 1),
            torch.nn.SiLU())
        self.head = torch.nn.Linear(16, classes)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3))) * self.gain + self.shift


class Attending(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.patches = torch.nn.Conv2d(3, 32, 16, 16)
        self.block = torch.nn.TransformerEncoderLayer(32, 4, 64, 0.0, "gelu", batch_first=True,
                                                      norm_first=True)
        self.head = torch.nn.Linear(32, classes)

    def forward(self, x):
        return self.head(self.block(self.patches(x).flatten(2).transpose(1, 2)).mean(1)) * 20


class Segments(torch.nn.Module):
    def __init__(self, classes, softmax):
        super().__init__()
        self.down = torch.nn.Conv2d(3, 8, 4, 4)
        self.up = torch.nn.ConvTranspose2d(8, classes, 4, 4, bias=False)
        self.softmax = softmax

    def forward(self, x):
        y = self.up(self.down(x).relu()) * 30
        return y.softmax(1) if self.softmax else y


def export(network, path, side, metadata, batch=True):
    network.eval()
    axes = {"input": {0: "b"}, "output": {0: "b"}} if batch else None
    torch.onnx.export(network, (torch.zeros(1, 3, side, side),), str(path), opset_version=17,
                      input_names=["input"], output_names=["output"], dynamic_axes=axes,
                      dynamo=False)
    model = onnx.load(path)
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value)
    onnx.save(model, path)


def metadata(kind, names, side, **more):
    return {"model_type": kind, "class_names": {str(i): n for i, n in enumerate(names)},
            "resolution": CM, "tile_size": side, "standardization_mean": [0.4, 0.5, 0.6],
            "standardization_std": [0.2, 0.25, 0.3], **more}


def softmax(values, axis):
    e = np.exp(values - values.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


class Check:
    def __init__(self, program, folder):
        self.program, self.folder, self.failures, self.worst = program, folder, 0, 0.0

    def expect(self, good, text):
        if not good:
            self.failures += 1
            print("FAILED:", text)

    def call(self, *arguments):
        return subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True,
                              timeout=240)

    def run(self, model, image, *more):
        out = self.folder / (model.stem + "-out")
        done = self.call("classify", image, "--model", model, "--out", out, "--no-mask",
                         "--attention", *more)
        if done.returncode:
            self.expect(False, f"{model.name}: {done.stdout}{done.stderr}")
            return None
        return next(p.parent for p in out.rglob("run.json"))

    def answers(self, model, pixels, side):
        """Of every tile, in rows: the network's raw output."""
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        mean, std = (np.array(v, np.float32).reshape(3, 1, 1)
                     for v in ([0.4, 0.5, 0.6], [0.2, 0.25, 0.3]))
        for top in range(0, pixels.shape[0], side):
            for left in range(0, pixels.shape[1], side):
                tile = np.zeros((side, side, 3), np.uint8)
                part = pixels[top:top + side, left:left + side]
                tile[:part.shape[0], :part.shape[1]] = part
                x = tile.transpose(2, 0, 1).astype(np.float32) / 255
                yield top, left, session.run(None, {"input": ((x - mean) / std)[None]})[0][0]

    def classifier(self, name, network, names, side, image, pixels, batch=True):
        model = self.folder / f"{name}.onnx"
        export(network, model, side, metadata("Classifier", names, side), batch)
        run = self.run(model, image)
        if not run:
            return
        rows = {(int(r["minx"]), int(r["miny"])): r
                for r in csv.DictReader(open(run / "tiles.csv"))}
        for top, left, raw in self.answers(model, pixels, side):
            wanted = 1 / (1 + np.exp(-raw)) if len(names) == 1 else softmax(raw, 0)
            for k, label in enumerate(names):
                got = float(rows[(left, top)]["prob_" + label])
                self.worst = max(self.worst, abs(got - wanted[k]))
        record = json.load(open(run / "run.json"))
        self.expect("ONNX Runtime" in json.dumps(record), f"{name}: provenance names no runtime")

    def segmentor(self, name, network, names, side, image, pixels):
        model = self.folder / f"{name}.onnx"
        export(network, model, side, metadata("Segmentor", names, side))
        run = self.run(model, image)
        if not run:
            return
        classes = np.array(Image.open(run / "classes.tif"))
        self.expect(classes.shape == pixels.shape[:2],
                    f"{name}: classes.tif is {classes.shape}, the image {pixels.shape}")
        differing = total = 0
        for top, left, raw in self.answers(model, pixels, side):
            raw = raw[:, :pixels.shape[0] - top, :pixels.shape[1] - left]
            if len(names) == 1:
                wanted = (1 / (1 + np.exp(-raw[0])) < 0.5).astype(int)  # 1: "not ..."
                sure = np.abs(raw[0]) > 1e-3
            else:
                p = raw if network.softmax else softmax(raw, 0)
                wanted = p.argmax(0)
                two = np.sort(p, 0)[-2:]
                sure = two[1] - two[0] > 1e-4
            got = classes[top:top + raw.shape[1], left:left + raw.shape[2]]
            differing += int(((got != wanted) & sure).sum())
            total += wanted.size
        self.expect(differing == 0, f"{name}: {differing} of {total} pixels have another class")
        self.expect(len(np.unique(classes)) > 1, f"{name}: one class alone says little")

    def refused(self, model, image, text):
        done = self.call("classify", image, "--model", model, "--out", self.folder / "none")
        said = done.stdout + done.stderr
        self.expect(done.returncode != 0 and text in said and str(model.name) in said,
                    f"{model.name}: \"{text}\" expected, got {done.returncode}: {said}")


def main():
    program = sys.argv[1]
    torch.manual_seed(3)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        image = folder / "scene.tif"
        check = Check(program, folder)
        done = check.call("sample", "--size", 700, "--seed", 21, "--out", image)
        assert done.returncode == 0, done.stderr
        pixels = np.array(Image.open(image))[..., :3]
        check.classifier("convolutions", Small(3), ["a", "b", "c"], 128, image, pixels)
        check.classifier("one", Small(1), ["water"], 128, image, pixels)
        # Scores of the scene between 0 and 1, which are no probabilities all the same.
        check.classifier("small_scores", Small(1, 1, 0.5), ["water"], 128, image, pixels)
        check.classifier("attending", Attending(4), list("abcd"), 64, image, pixels)
        check.classifier("one_at_a_time", Small(3), ["a", "b", "c"], 128, image, pixels, False)
        check.segmentor("segments", Segments(3, False), ["a", "b", "c"], 64, image, pixels)
        check.segmentor("probabilities", Segments(3, True), ["a", "b", "c"], 64, image, pixels)
        check.segmentor("mask", Segments(1, False), ["roof"], 64, image, pixels)
        check.expect(check.worst <= TOLERANCE, f"probabilities differ by {check.worst}")

        good = folder / "convolutions.onnx"
        broken = folder / "broken.onnx"
        broken.write_bytes(good.read_bytes()[:-300])
        check.refused(broken, image, "damaged")
        broken.write_bytes(b"\x0a\xff\xff\xff\xff\x7f no model")
        check.refused(broken, image, "damaged")
        broken.write_bytes(b"<html>not found</html>")
        check.refused(broken, image, "ONNX")
        for key, text in (("class_names", "class_names"), ("resolution", "resolution"),
                          ("tile_size", "tile_size"), ("model_type", "model_type")):
            model = onnx.load(good)
            kept = [p for p in model.metadata_props if p.key != key]
            del model.metadata_props[:]
            model.metadata_props.extend(kept)
            path = folder / f"no_{key}.onnx"
            onnx.save(model, path)
            check.refused(path, image, text)
        wrong = folder / "wrong.onnx"
        export(Small(3), wrong, 128, metadata("Classifier", ["a", "b"], 128))
        check.refused(wrong, image, "[B, 2]")
        graph = onnx.load(good)
        graph.graph.node[0].op_type = "NoSuchThing"
        onnx.save(graph, wrong)
        check.refused(wrong, image, "NoSuchThing")
        print(f"largest difference of a probability: {check.worst:.2g}; opset 17, "
              f"ONNX Runtime {onnxruntime.__version__}")
        sys.exit(1 if check.failures else 0)


if __name__ == "__main__":
    main()
