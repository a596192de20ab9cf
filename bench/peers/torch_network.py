"""A PyTorch network from Epitaxy's model.json and weights.safetensors: the same layers by construction, with the same initial weights."""
import json
import pathlib
import struct

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


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


class Concat(nn.Module):
    def forward(self, *x):
        return torch.cat(x, 1)


class Add(nn.Module):
    def forward(self, a, b):
        return a + b


class GlobalAveragePool(nn.Module):
    def forward(self, x):
        return F.adaptive_avg_pool2d(x, 1).flatten(1)


class Recurrent(nn.Module):
    """A recurrent layer and its pooling over the steps."""

    def __init__(self, entry, features, dropout):
        super().__init__()
        kinds = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn_tanh": nn.RNN, "rnn_relu": nn.RNN}
        more = {"proj_size": entry["projection"]} if entry["projection"] else {}
        if entry["mode"].startswith("rnn_"):
            more["nonlinearity"] = entry["mode"][4:]
        self.pool, self.directions = entry["pool"], 2 if entry["bidirectional"] else 1
        self.net = kinds[entry["mode"]](features, entry["hidden"], entry["layers"], bias=entry["bias"], batch_first=True,
                                        dropout=entry["dropout"] if dropout else 0.0, bidirectional=entry["bidirectional"], **more)

    def forward(self, x):
        y, last = self.net(x)
        if self.pool == "none":
            return y
        if self.pool == "mean":
            return y.mean(1)
        h = last[0] if isinstance(last, tuple) else last
        return h[-self.directions :].transpose(0, 1).flatten(1)


def symmetric(padding):
    top, bottom, left, right = padding
    if top != bottom or left != right:
        raise ValueError(f"padding {padding} differs between opposite sides")
    return top, left


def windows(size, kernel, stride, padding, dilation=(1, 1)):
    return [(size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1)]


class Network(nn.Module):
    """Epitaxy's arrays are NHWC and KRSC and its flattened images HWC; PyTorch's are NCHW, KCRS and CHW."""

    def __init__(self, folder, dropout):
        super().__init__()
        description = json.loads((folder / "model.json").read_text())
        arrays = read_safetensors(folder / "weights.safetensors")
        entries = description["layers"]
        shapes = [description["input"]]
        self.steps = []  # (module's place, values it takes, values nobody takes afterwards)
        self.modules_in_order = nn.ModuleList()
        users = {}
        for place, entry in enumerate(entries):
            for source in entry["inputs"]:
                users.setdefault(source, []).append(place)
        for place, entry in enumerate(entries):
            inputs = entry["inputs"]
            source = entries[inputs[0] - 1] if inputs[0] else None
            flattened = shapes[source["inputs"][0]] if source and source["kind"] == "flatten" else None
            alone = inputs[0] != 0 and users[inputs[0]] == [place]  # an input nobody else reads may be overwritten
            module, shape = self.make(entry, [shapes[i] for i in inputs], arrays, flattened, alone, dropout)
            self.modules_in_order.append(module)
            shapes.append(shape)
            self.steps.append((inputs, [i for i in set(inputs) if users[i][-1] == place]))

    def make(self, entry, shapes, arrays, flattened, alone, dropout):
        kind, name, shape = entry["kind"], entry["name"], shapes[0]

        def fill(module, weight):
            with torch.no_grad():
                module.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
                if module.bias is not None:
                    module.bias.copy_(torch.from_numpy(arrays[name + ".bias"]))
            if entry.get("activation", "none") == "none":
                return module
            if entry["activation"] != "relu":
                raise ValueError(f"{name}: activation {entry['activation']}")
            return nn.Sequential(module, nn.ReLU(inplace=True))

        if kind == "conv":
            if entry["padding_mode"] != ["zeros", "zeros"]:
                raise ValueError(f"{name}: periodic padding")
            padding = symmetric(entry["padding"])
            conv = nn.Conv2d(shape[2], entry["channels"], entry["kernel"], entry["stride"], padding, entry["dilation"], entry["groups"], entry["bias"])
            size = windows(shape, entry["kernel"], entry["stride"], padding, entry["dilation"])
            return fill(conv, arrays[name + ".weight"].transpose(0, 3, 1, 2)), [*size, entry["channels"]]
        if kind == "conv_transpose":
            kernel = entry["kernel"]
            conv = nn.ConvTranspose2d(shape[2], entry["channels"], kernel, kernel, bias=entry["bias"])
            return fill(conv, arrays[name + ".weight"].transpose(0, 3, 1, 2)), [shape[0] * kernel[0], shape[1] * kernel[1], entry["channels"]]
        if kind == "dense":
            weight = arrays[name + ".weight"]
            if flattened:
                weight = weight.reshape(len(weight), *flattened).transpose(0, 3, 1, 2).reshape(len(weight), -1)
            return fill(nn.Linear(shape[0], entry["units"], entry["bias"]), weight), [entry["units"]]
        if kind == "bn":
            module = (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[-1], entry["epsilon"], entry["momentum"])
            return fill(module, arrays[name + ".weight"]), shape
        if kind == "activation" and entry["function"] == "relu":
            return nn.ReLU(inplace=alone), shape
        if kind in ("max_pool", "average_pool"):
            padding = symmetric(entry["padding"])
            window = [*windows(shape, entry["kernel"], entry["stride"], padding), shape[2]]
            if kind == "max_pool":
                return nn.MaxPool2d(entry["kernel"], entry["stride"], padding), window
            return nn.AvgPool2d(entry["kernel"], entry["stride"], padding, count_include_pad=not entry["exclude_padding"]), window
        if kind == "global_average_pool":
            return GlobalAveragePool(), [shape[2]]
        if kind == "flatten":
            return nn.Flatten(), [int(np.prod(shape))]
        if kind == "dropout":
            return (nn.Dropout(entry["rate"]) if dropout and entry["rate"] else nn.Identity()), shape
        if kind == "add":
            return Add(), shape
        if kind == "concat":
            return Concat(), [*shape[:2], sum(s[2] for s in shapes)]
        if kind in ("rnn", "lstm", "gru"):
            module = Recurrent(entry, shape[1], dropout)
            with torch.no_grad():
                for parameter, value in module.net.named_parameters():
                    value.copy_(torch.from_numpy(arrays[f"{name}.{parameter}"]))
            width = module.directions * (entry["projection"] or entry["hidden"])
            return module, [shape[0], width] if entry["pool"] == "none" else [width]
        raise ValueError(f"{name}: layers of kind {kind} have no twin")

    def forward(self, x):
        values = [x]
        for module, (inputs, last) in zip(self.modules_in_order, self.steps):
            values.append(module(*[values[i] for i in inputs]))
            for i in last:
                values[i] = None
        return values[-1]


def parameter_groups(network, weight_decay):
    """Weights decay; biases and normalisation do not."""
    parameters = list(network.parameters())
    if not weight_decay:
        return parameters
    return [{"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}]
