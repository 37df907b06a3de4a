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


def export(network, path, side, metadata, batch=True, example=None):
    network.eval()
    axes = {"input": {0: "b"}, "output": {0: "b"}} if batch else None
    example = torch.zeros(1, 3, side, side) if example is None else example
    torch.onnx.export(network, (example,), str(path), opset_version=17,
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


class Numbers(torch.nn.Module):
    """Of any number of bands."""

    def __init__(self, bands, scale):
        super().__init__()
        self.scale = scale
        self.mix = torch.nn.Conv2d(bands, 8, 5, 4)
        self.head = torch.nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.mix(x * self.scale).relu().mean((2, 3))) * 4


def write_numbers(folder, bands):
    """A raster of 16-bit numbers with scale and offset, as GDAL reads raw numbers; returns them."""
    random = np.random.default_rng(5)
    width, height = 300, 210
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([2000 + 1500 * np.sin(x / (20 + 9 * b)) * np.cos(y / 31) for b in range(bands)], 2)
    pixels = (pixels + random.integers(0, 300, pixels.shape)).astype("<u2")
    (folder / "numbers.raw").write_bytes(pixels.tobytes())
    parts = "".join(
        f"""<VRTRasterBand dataType="UInt16" band="{b + 1}" subClass="VRTRawRasterBand">
        <Scale>{0.001 * (b + 1)}</Scale><Offset>{-0.1 * b}</Offset>
        <SourceFilename relativetoVRT="1">numbers.raw</SourceFilename><ImageOffset>{2 * b}</ImageOffset>
        <PixelOffset>{2 * bands}</PixelOffset><LineOffset>{2 * bands * width}</LineOffset>
        <ByteOrder>LSB</ByteOrder></VRTRasterBand>""" for b in range(bands))
    vrt = folder / "numbers.vrt"
    vrt.write_text(f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{parts}</VRTDataset>')
    return vrt, pixels


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

    def numbers(self, name, network, image, pixels, count, prepare, whole=False, **more):
        """Networks that are given the numbers of a file of 16 bits: a context is a plain cut of them,
        `prepare` turns it into the input as the rule says."""
        model = self.folder / f"{name}.onnx"
        side = 64
        export(network, model, side, metadata("Classifier", ["a", "b"], side, **more), True,
               torch.zeros(1, count, side, side))
        if whole:  # the same network with an input of uint16
            graph = onnx.load(model)
            graph.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT16
            for node in graph.graph.node:
                node.input[:] = ["numbers" if name == "input" else name for name in node.input]
            cast = onnx.helper.make_node("Cast", ["input"], ["numbers"], to=onnx.TensorProto.FLOAT)
            graph.graph.node.insert(0, cast)
            onnx.save(graph, model)
        run = self.run(model, image, "--resolution", "0.5m")
        if not run:
            return
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        rows = {(int(r["minx"]), int(r["miny"])): r
                for r in csv.DictReader(open(run / "tiles.csv"))}
        worst, answers = 0, []
        for (left, top), row in rows.items():
            if left + side > pixels.shape[1] or top + side > pixels.shape[0]:
                continue
            tile = pixels[top:top + side, left:left + side].transpose(2, 0, 1)
            wanted = softmax(session.run(None, {"input": prepare(tile)[None]})[0][0], 0)
            answers.append(wanted[0])
            worst = max(worst, abs(float(row["prob_a"]) - wanted[0]))
        self.worst = max(self.worst, worst)
        self.expect(len(answers) >= 4 and np.ptp(answers) > 0.01,
                    f"{name}: {len(answers)} answers that hardly differ say little")
        self.expect(worst <= TOLERANCE, f"{name}: probabilities differ by {worst}")
        line = json.load(open(run / "run.json"))["parameters"]["input"]["line"]
        self.expect("numbers of the file" in line, f"{name}: run.json says \"{line}\"")

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
        # The numbers of files of more than 8 bits, and of more bands than colour has.
        vrt, numbers = write_numbers(folder, 5)
        mean, std = (np.array(v, np.float32).reshape(-1, 1, 1)
                     for v in ([8, 7, 6, 5, 4], [2, 3, 4, 5, 6]))
        five = {"standardization_mean": mean.ravel().tolist(), "standardization_std": std.ravel().tolist()}

        def deepness(tile, channels):  # its plain rule: numbers of the file / 255, then mean and std
            x = np.float32(tile[:channels] * 1.0 / 255.0)
            return (x - mean[:channels]) / std[:channels]

        check.numbers("deepness_five", Numbers(5, 1), vrt, numbers, 5, lambda t: deepness(t, 5), **five)
        check.numbers("deepness_three", Numbers(3, 1), vrt, numbers, 3, lambda t: deepness(t, 3),
                      standardization_mean=[8, 7, 6], standardization_std=[2, 3, 4])
        gain, offset = (np.array(v, np.float32).reshape(-1, 1, 1)
                        for v in ([0.001 * (b + 1) for b in range(5)], [-0.1 * b for b in range(5)]))
        check.numbers("physical", Numbers(4, 0.5), vrt, numbers, 4,
                      lambda t: (t * gain + offset)[[4, 0, 1, 2]].astype(np.float32), bands=[5, 1, 2, 3],
                      input_values="physical", standardization_mean=0, standardization_std=1)
        check.numbers("whole", Numbers(2, 0.001), vrt, numbers, 2,
                      lambda t: t[:2].astype(np.uint16), True)
        six = folder / "six.onnx"
        export(Numbers(6, 1), six, 64, metadata("Classifier", ["a", "b"], 64, standardization_mean=0,
                                                standardization_std=1), True, torch.zeros(1, 6, 64, 64))
        done = check.call("classify", vrt, "--model", six, "--out", folder / "none", "--resolution", "0.5m")
        check.expect(done.returncode != 0 and "6 bands" in done.stderr, f"six bands of five: {done.stderr}")
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
