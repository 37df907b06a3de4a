"""convert_checkpoint.py: a wrapped checkpoint with pickled settings becomes a folder that runs."""
import json
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import torch
from safetensors.torch import load_file

source, program = Path(sys.argv[1]), sys.argv[2]
stub = types.ModuleType("easydict")
stub.EasyDict = type("EasyDict", (dict,), {"__module__": "easydict"})
sys.modules["easydict"] = stub

with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    weights = load_file(str(source / "resources/models/scenes/model.safetensors"))
    wrapped = {f"module.{name}": value for name, value in weights.items()}
    torch.save({"model": wrapped, "epoch": 3, "args": stub.EasyDict(lr=1)}, folder / "latest.ckpt")
    expected = json.loads((source / "resources/models/scenes/config.json").read_text())
    (folder / "names.txt").write_text("\n".join(expected["class_names"]))
    convert = [sys.executable, str(source / "resources/convert_checkpoint.py"), str(folder / "latest.ckpt"),
               str(folder / "model"), "--class-names", str(folder / "names.txt"), "--spacing-um", "500000",
               "--heads", "2", "--window-side", "8"]
    subprocess.run(convert, check=True)
    back = load_file(str(folder / "model/model.safetensors"))
    assert back.keys() == weights.keys() and all(torch.equal(back[n], weights[n]) for n in weights)
    config = json.loads((folder / "model/config.json").read_text())
    network, original = config["atlas"]["network"], dict(expected["atlas"]["network"])
    original["window_mapping"] = "raster"
    assert network == original, (network, original)
    run = subprocess.run([program, "classify", "synthetic:size=1024,seed=3", "--model", str(folder / "model"), "--json",
                          "--out", str(folder / "out")], check=True, capture_output=True, text=True)
    assert json.loads(run.stdout)[0]["state"] == "done"
    # Names that do not fit are refused by name.
    (folder / "names.txt").write_text("one\ntwo\n")
    bad = subprocess.run(convert, capture_output=True, text=True)
    assert bad.returncode != 0 and "10 classes" in bad.stderr, bad.stderr
print("1 passed, 0 failed")
