#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times runs alone and beside two busy programs, and prints a table of the ratios.

    busy_machine.py PROGRAM [--before OTHER_PROGRAM] [--rounds 5] [--only NAME ...] [--json FILE]

PROGRAM is an atlasscope with its resources. In each round every case runs once alone and once
beside two processes that count in a loop, in turns, so that what else goes on disturbs all of them
alike; the table gives medians. With --before the same is done with another build of the program, in
turns with this one. The cases are the bundled networks in contexts, `scenes` over the whole image,
ResNet-34 as TorchScript and as ONNX (random weights, exported with timm), and the loop with which
WSInfer runs the same TorchScript file: a DataLoader with two workers, batches of 32, PyTorch's own
number of threads. Run it with a Python that has torch, timm, onnx and onnxruntime, on a machine with
nothing else to do. It takes about a minute a round and program.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

SIDE = 2688  # pixels: 144 contexts of 224
PATCH = 224
RESOLUTION = "0.5m"  # of a synthetic image
ENVIRONMENT = dict(os.environ)
HERE = pathlib.Path(__file__).resolve()
EXPORT = HERE.parents[2] / "resources" / "export_timm.py"


class BusyPrograms:
    def __init__(self, count):
        self.count = count

    def __enter__(self):
        self.running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(self.count)]
        time.sleep(0.5 if self.count else 0)

    def __exit__(self, *_):
        for process in self.running:
            process.kill()
            process.wait()


def timed(command):
    """What the command printed; and its wall time, processor time in seconds, and context switches."""
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                               env=ENVIRONMENT)
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed")
    return text, {"wall": time.monotonic() - begin, "cpu": usage.ru_utime + usage.ru_stime,
                  "switches": usage.ru_nvcsw + usage.ru_nivcsw}


def classify(program, image, model, *more):
    with tempfile.TemporaryDirectory() as out:
        text, measured = timed([program, "classify", image, "--model", model, "--out", out, "--no-mask",
                                "--device", "cpu", "--json", "--trust-model", *more])
    run = json.loads(text)[0]
    # Without the start of the program, as the loop of WSInfer is timed.
    return {**measured, "seconds": run["seconds"], "contexts": run["contexts"]}


def wsinfer_loop(model, image):
    """WSInfer's run_inference() for one slide, on pixels of level 0."""
    import numpy
    import torch
    from PIL import Image

    pixels = Image.open(image).convert("RGB")
    pixels.load()
    mean, std = (torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))

    class Patches(torch.utils.data.Dataset):
        corners = [(x, y) for y in range(0, SIDE, PATCH) for x in range(0, SIDE, PATCH)]

        def __len__(self):
            return len(self.corners)

        def __getitem__(self, index):
            x, y = self.corners[index]
            patch = pixels.crop((x, y, x + PATCH, y + PATCH)).resize((PATCH, PATCH), Image.Resampling.BILINEAR)
            tensor = torch.from_numpy(numpy.array(patch)).permute(2, 0, 1).float() / 255
            return (tensor - mean) / std, torch.tensor([x, y, PATCH, PATCH])

    network = torch.jit.load(model / "torchscript_model.pt").eval()
    begin = time.monotonic()
    loader = torch.utils.data.DataLoader(Patches(), batch_size=32, shuffle=False,
                                         num_workers=min(len(os.sched_getaffinity(0)), 8))
    coordinates, probabilities = [], []
    for images, where in loader:
        with torch.no_grad():
            logits = network(images).detach().cpu()
        probabilities.append(torch.nn.functional.softmax(logits, dim=1).numpy())
        coordinates.append(where.numpy())
    numpy.concatenate(probabilities), numpy.concatenate(coordinates)
    print(json.dumps({"seconds": time.monotonic() - begin, "contexts": len(Patches())}))


def wsinfer(model, image):
    text, measured = timed([sys.executable, HERE, "--loop", model, image])
    return {**measured, **json.loads(text)}


def export(folder, form):
    out = folder / ("resnet34.onnx" if form == "onnx" else "resnet34")
    subprocess.run([sys.executable, EXPORT, "resnet34", "--classes", "a", "b", "--size", str(PATCH),
                    "--resolution", RESOLUTION, "--out", out, "--format", form],
                   check=True, stdout=subprocess.DEVNULL)
    return out


def cases_of(program, name, image, script, onnx):
    return {f"{name}scenes, contexts": lambda: classify(program, image, "scenes", "--overlap", "0.5"),
            f"{name}landuse, contexts": lambda: classify(program, image, "landuse", "--resolution", "0.3m"),
            f"{name}scenes, whole image": lambda: classify(program, image, "scenes", "--context", "whole"),
            f"{name}resnet34, TorchScript": lambda: classify(program, image, script),
            f"{name}resnet34, ONNX": lambda: classify(program, image, onnx)}


def row(name, alone, beside):
    def middle(runs, key):
        return statistics.median(run[key] for run in runs)
    ratios = [b["seconds"] / a["seconds"] for a, b in zip(alone, beside)]
    rate = [middle(runs, "contexts") / middle(runs, "seconds") for runs in (alone, beside)]
    return (f"{name:40s} {middle(alone, 'seconds'):8.2f} {middle(beside, 'seconds'):8.2f} "
            f"{statistics.median(ratios):6.2f} {rate[0]:8.1f} {rate[1]:8.1f} "
            f"{middle(alone, 'cpu'):8.1f} {middle(beside, 'cpu'):8.1f} "
            f"{middle(alone, 'switches'):9.0f} {middle(beside, 'switches'):9.0f}")


def main():
    if sys.argv[1:2] == ["--loop"]:
        return wsinfer_loop(pathlib.Path(sys.argv[2]), sys.argv[3])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--before", type=pathlib.Path, help="another build to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[], help="parts of the names of cases")
    parser.add_argument("--json", type=pathlib.Path, help="where to write every measurement")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        ENVIRONMENT["XDG_DATA_HOME"] = ENVIRONMENT["XDG_CACHE_HOME"] = name  # trust ends with the folder
        image = folder / "image.tif"
        subprocess.run([arguments.program, "sample", "--size", str(SIDE), "--seed", "5", "--out", image],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        script, onnx = export(folder, "torchscript"), export(folder, "onnx")
        cases = cases_of(arguments.program, "", image, script, onnx)
        if arguments.before:
            cases |= cases_of(arguments.before, "before: ", image, script, onnx)
        cases["WSInfer's loop, resnet34"] = lambda: wsinfer(script, image)
        if arguments.only:
            cases = {k: v for k, v in cases.items() if any(part in k for part in arguments.only)}
        measured = {case: ([], []) for case in cases}
        for number in range(arguments.rounds):
            for case, run in cases.items():
                for programs, runs in zip((0, 2), measured[case]):
                    with BusyPrograms(programs):
                        runs.append(run())
            print(f"round {number + 1} of {arguments.rounds} is done", file=sys.stderr)
    print(f"{'medians, ' + str(len(os.sched_getaffinity(0))) + ' cores':40s} "
          f"{'alone s':>8s} {'busy s':>8s} {'ratio':>6s} {'alone/s':>8s} {'busy/s':>8s} "
          f"{'CPU s':>8s} {'busy':>8s} {'switches':>9s} {'busy':>9s}")
    for case, (alone, beside) in measured.items():
        print(row(case, alone, beside))
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
