#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Exports a timm model for AtlasScope in one command.

    export_timm.py NAME --classes water forest … --size 224 --resolution 0.5um --out MODEL
                   [--weights FILE.safetensors | --pretrained] [--format torchscript|onnx]

NAME is any model of `timm.list_models()`. MODEL is a folder in the layout of WSInfer's zoo
(torchscript_model.pt and config.json), or with --format onnx one file with Deepness' metadata.
Weights come from a safetensors file (prefixes net., module. and model. are stripped), from timm
(--pretrained, which downloads them), or are random, which is only good for trying things out. Mean
and standard deviation are those that the model was trained with. The export is run once against
the model and refused where it answers otherwise.
"""
import argparse
import difflib
import json
import pathlib
import re
import sys
import warnings

import torch


def load_timm():
    """timm, also beside a LibTorch for which torchvision's own operators (of detection) do not load."""
    try:
        import timm
    except RuntimeError:
        load_timm.operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            load_timm.operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for module in [m for m in sys.modules if m.split(".")[0] in ("timm", "torchvision")]:
            del sys.modules[module]
        import timm
    return timm


timm = load_timm()
TOLERANCE = 1e-4  # of any logit, relative to the largest


def micrometres(text):
    found = re.fullmatch(r"([0-9.]+)\s*(nm|um|µm|mm|cm|m)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text}: give a length such as 0.5um or 0.3m")
    return float(found[1]) * {"nm": 1e-3, "um": 1, "µm": 1, "mm": 1e3, "cm": 1e4, "m": 1e6}[found[2]]


def load(arguments):
    options = {"num_classes": len(arguments.classes), "pretrained": arguments.pretrained}
    try:  # those with a fixed number of places need to know it
        model = timm.create_model(arguments.name, img_size=arguments.size, **options)
    except TypeError:
        model = timm.create_model(arguments.name, **options)
    if arguments.weights:
        from safetensors.torch import load_file
        weights = {re.sub(r"^(net|module|model)\.", "", k): v
                   for k, v in load_file(arguments.weights).items()}
        model.load_state_dict(weights)  # names what is missing or extra
    return model.eval()


def differ(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-6)).item()


def export_torchscript(model, example, arguments, mean, std):
    arguments.out.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        traced = torch.jit.trace(model, example)
    traced.save(str(arguments.out / "torchscript_model.pt"))
    config = {
        "spec_version": "1.0", "architecture": arguments.name,
        "num_classes": len(arguments.classes), "class_names": arguments.classes,
        "patch_size_pixels": arguments.size, "spacing_um_px": arguments.resolution,
        "transform": [
            {"name": "Resize", "arguments": {"size": arguments.size}}, {"name": "ToTensor"},
            {"name": "Normalize", "arguments": {"mean": mean, "std": std}}]}
    (arguments.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return torch.jit.load(str(arguments.out / "torchscript_model.pt"))


def export_onnx(model, example, arguments, mean, std):
    import onnx
    import onnxruntime
    if arguments.out.suffix != ".onnx":
        raise SystemExit(f"{arguments.out}: an ONNX model is one file that ends in .onnx")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(model, (example,), str(arguments.out), opset_version=17,
                      input_names=["input"], output_names=["output"],
                      dynamic_axes={"input": {0: "b"}, "output": {0: "b"}}, dynamo=False)
    graph = onnx.load(arguments.out)
    for key, value in {
            "model_type": "Classifier", "resolution": arguments.resolution / 1e4,
            "class_names": {str(i): n for i, n in enumerate(arguments.classes)},
            "tile_size": arguments.size, "standardization_mean": mean,
            "standardization_std": std, "description": f"timm {timm.__version__} {arguments.name}",
    }.items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value)
    onnx.save(graph, arguments.out)
    session = onnxruntime.InferenceSession(arguments.out, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"input": x.numpy()})[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--classes", nargs="+", required=True)
    parser.add_argument("--size", type=int, default=224, help="side of a context in pixels")
    parser.add_argument("--resolution", type=micrometres, required=True, help="of a pixel: 0.5um")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--weights", type=pathlib.Path)
    parser.add_argument("--pretrained", action="store_true")
    parser.add_argument("--format", choices=["torchscript", "onnx"], default="torchscript")
    arguments = parser.parse_args()
    if len(set(arguments.classes)) != len(arguments.classes):
        sys.exit("--classes: every name once")
    if arguments.name not in timm.list_models():
        near = difflib.get_close_matches(arguments.name, timm.list_models(), 6)
        sys.exit(f"{arguments.name}: timm {timm.__version__} has no such model. "
                 + (f"Near it: {', '.join(near)}" if near else "timm.list_models() lists them"))
    warnings.filterwarnings("ignore")
    model = load(arguments)
    mean, std = (list(map(float, model.pretrained_cfg[k])) for k in ("mean", "std"))
    example = torch.rand(2, 3, arguments.size, arguments.size)
    export = export_torchscript if arguments.format == "torchscript" else export_onnx
    exported = export(model, example, arguments, mean, std)
    with torch.no_grad():
        other = torch.rand_like(example)  # not what it was traced with
        apart = differ(exported(other), model(other))
    if not apart <= TOLERANCE:
        sys.exit(f"{arguments.out}: the export answers otherwise than the model ({apart:.2g})")
    print(f"{arguments.out}: {arguments.name}, {len(arguments.classes)} classes, "
          f"differs from the model by {apart:.2g}"
          + ("" if arguments.weights or arguments.pretrained else "; its weights are random"))


if __name__ == "__main__":
    main()
