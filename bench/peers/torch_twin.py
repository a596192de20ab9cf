#!/usr/bin/env python3
"""PyTorch's side of the comparison: the same workload, weights and batches as peer.cpp, one JSON line. torch 1.13 and later.

  A: crystal CNN, 1x64x64, 7 classes, cross entropy, Adam, batch 64      C: 784-64-64-1, mean squared error, Adam, batch 32
"""
import argparse
import json
import pathlib
import resource
import statistics
import struct
import time

import numpy as np
import torch
from torch import nn

BATCH = {"A": 64, "C": 32}


def read_safetensors(path):
    raw = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        arrays[name] = np.frombuffer(raw[8 + length + first : 8 + length + last], np.float32).reshape(entry["shape"]).copy()
    return arrays


def model_of(workload, dropout):
    if workload == "C":
        return nn.Sequential(nn.Linear(784, 64), nn.ReLU(inplace=True), nn.Linear(64, 64), nn.ReLU(inplace=True), nn.Linear(64, 1))
    layers = []
    for channels_in, channels_out, pool in ((1, 32, False), (32, 32, True), (32, 64, False), (64, 64, True)):
        layers += [nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.ReLU(inplace=True)]
        if pool:
            layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(64 * 16 * 16, 128), nn.ReLU(inplace=True)]
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(128, 7))


def load_weights(model, path):
    """Epitaxy's filters are KRSC and its flattened images HWC; PyTorch's are KCRS and CHW."""
    arrays = iter(read_safetensors(path).values())
    pixels = None  # of the image that is flattened
    for layer in model:
        if isinstance(layer, nn.MaxPool2d):
            pixels = 64 // 4
        if not isinstance(layer, (nn.Conv2d, nn.Linear)):
            continue
        weight, bias = next(arrays), next(arrays)
        if isinstance(layer, nn.Conv2d):
            weight = weight.transpose(0, 3, 1, 2)
        elif pixels:
            weight = weight.reshape(len(weight), pixels, pixels, -1).transpose(0, 3, 1, 2).reshape(len(weight), -1)
            pixels = None
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
            layer.bias.copy_(torch.from_numpy(bias))


def batches_of(workload, folder, memory_format, device):
    inputs = np.fromfile(folder / "inputs.raw", np.float32)
    if workload == "A":
        inputs = torch.from_numpy(inputs.reshape(-1, BATCH["A"], 1, 64, 64))  # one channel: NHWC and NCHW are the same bytes
        targets = torch.from_numpy(np.fromfile(folder / "targets.raw", np.int32).astype(np.int64).reshape(-1, BATCH["A"]))
        return [(x.contiguous(memory_format=memory_format).to(device), y.to(device)) for x, y in zip(inputs, targets)]
    inputs = torch.from_numpy(inputs.reshape(-1, BATCH["C"], 784))
    targets = torch.from_numpy(np.fromfile(folder / "targets.raw", np.float32).reshape(-1, BATCH["C"], 1))
    return [(x.to(device), y.to(device)) for x, y in zip(inputs, targets)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=("A", "C"), required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of inputs.raw, targets.raw, weights.safetensors")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--dropout", type=float, default=0.25)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--losses", type=int, default=0, help="print the first losses, without dropout, instead of timing")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--foreach", action="store_true", help="Adam over all arrays at once")
    parser.add_argument("--trace", action="store_true", help="forward pass by torch.jit.trace")
    parser.add_argument("--compile", action="store_true", help="torch.compile (torch 2)")
    parser.add_argument("--graph", action="store_true", help="the whole step as a CUDA graph")
    a = parser.parse_args()

    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    cuda = a.device.startswith("cuda")
    if cuda:  # strict fp32, as Epitaxy's
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
    memory_format = torch.channels_last if a.channels_last else torch.contiguous_format
    model = model_of(a.workload, 0 if a.losses else a.dropout)
    load_weights(model, a.data / "weights.safetensors")
    model = model.to(a.device, memory_format=memory_format)
    batches = batches_of(a.workload, a.data, memory_format, a.device)
    adam = {"foreach": True} if a.foreach else {}
    if a.graph:
        adam["capturable"] = True
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, **adam)
    criterion = nn.functional.cross_entropy if a.workload == "A" else nn.functional.mse_loss
    forward = model
    if a.trace:
        with torch.autocast("cuda" if cuda else "cpu", torch.bfloat16, enabled=a.precision == "bf16", cache_enabled=False):
            forward = torch.jit.trace(model, batches[0][0], check_trace=False)
    if a.compile:
        forward = torch.compile(model)
    low = a.precision == "bf16"
    kind = "cuda" if cuda else "cpu"

    def step(x, y):
        optimizer.zero_grad(set_to_none=True)
        if low:
            with torch.autocast(kind, torch.bfloat16):
                loss = criterion(forward(x).float(), y)
        else:
            loss = criterion(forward(x), y)
        loss.backward()
        optimizer.step()
        return loss

    run = step
    if a.graph:
        x, y = (t.clone() for t in batches[0])
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step(x, y)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = step(x, y)

        def run(new_x, new_y):
            x.copy_(new_x)
            y.copy_(new_y)
            graph.replay()
            return loss

    count, losses, times = 0, [], []

    def advance():
        nonlocal count
        result = run(*batches[count % len(batches)])
        count += 1
        return result

    for _ in range(a.losses or a.warmup):
        loss = advance()
        if a.losses:
            losses.append(float(loss.detach()))
    if not a.losses:
        begin = last = time.perf_counter()
        while last - begin < a.seconds or len(times) < 3:
            advance()
            if cuda:
                torch.cuda.synchronize()
            now = time.perf_counter()
            times.append(now - last)
            last = now
    report = {"workload": a.workload, "precision": a.precision, "torch": torch.__version__, "threads": torch.get_num_threads(),
              "batch": BATCH[a.workload], "steps": len(times), "losses": losses,
              "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    if times:
        times.sort()
        median = statistics.median(times)
        report.update(step_ms=1e3 * median, p10_ms=1e3 * times[len(times) // 10], p90_ms=1e3 * times[len(times) * 9 // 10],
                      samples_per_s=BATCH[a.workload] / median)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
