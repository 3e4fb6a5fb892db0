#!/usr/bin/env python3
"""PyTorch on what bin/bench/gpu_bench has just timed: the same inputs by formula, results compared, then times.

usage: gpu_peers.py RESULTS [--device cpu]

RESULTS has gpu_bench's JSON lines; a line for each peer is added to it. Attention by SDPA with cuDNN's and the flash
backend and by flash_attn where that is installed, convolutions by cuDNN, and where diffusers is installed the VAE's decode
and the transformer's forward and training step; the latter three also compiled. Where a result differs from ours by more
than bfloat16 explains, it says so and exits with 1. Without PyTorch or a GPU it says that and exits with 0.
"""

import argparse
import importlib
import json
import math
import os
import time

MASK = 0xFFFFFFFF
# Of the largest difference of a sample to its root mean square. What was measured is printed.
CLOSE = {"attention": 0.05, "attention_backward": 0.05, "conv2d": 0.05, "vae_decode": 0.2, "transformer_forward": 0.1,
         "student_step": 0.1}


def formula(seed, count):
    """bench/gpu/formula.h."""
    h = (torch.arange(count, device=DEVICE) + (seed * 0x9E3779B9 & MASK)) & MASK
    h = (h ^ h >> 16) * 0x85EBCA6B & MASK
    h = (h ^ h >> 13) * 0xC2B2AE35 & MASK
    h = h ^ h >> 16
    return ((h >> 8).double() - 2.0**23) * 2.0**-23


def tensor(seed, *shape, amplitude=1, dtype=None):
    return (amplitude * formula(seed, math.prod(shape))).float().to(dtype or torch.bfloat16).reshape(shape)


def fill_parameters(model, wanted=lambda name: True):
    """bench/gpu/formula.cpp, by the names of the state dict."""
    for name, parameter in model.named_parameters():
        if not wanted(name):
            continue
        shape, size = parameter.shape, parameter.numel()
        small = name.endswith(("bias", "scale_shift_table"))
        norm = not small and shape[0] == size
        amplitude = 0.1 if small or norm else math.sqrt(3.0 * shape[0] / size)
        seed = 0xCBF29CE484222325
        for byte in name.encode():
            seed = (seed ^ byte) * 0x100000001B3 & (1 << 64) - 1
        values = (1.0 if norm else 0.0) + amplitude * formula(seed & MASK, size)
        parameter.data = values.float().reshape(shape).to(parameter.dtype)
    return model.to(DEVICE)


def sample(values):
    """64 of the elements in memory's order, as gpu_bench takes them."""
    flat = values.detach().reshape(-1)
    places = torch.arange(64, device=flat.device) * (flat.numel() - 1) // 63
    return flat[places].float().tolist()


def difference(ours, theirs):
    rms = math.sqrt(sum(v * v for v in ours) / len(ours))
    worst = max((a - b if a == a and b == b else math.inf for a, b in zip(ours, theirs)), key=abs)
    return abs(worst) / rms


def timing(work):
    """As gpu_bench does it: the device's clock, runs of at least 2 ms, ten or more."""
    def seconds(calls):
        if DEVICE == "cpu":
            start = time.perf_counter()
            for _ in range(calls):
                work()
            return (time.perf_counter() - start) / calls
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(calls):
            work()
        stop.record()
        stop.synchronize()
        return 1e-3 * start.elapsed_time(stop) / calls

    first = min(seconds(1) for _ in range(3))
    if DEVICE == "cpu":
        return {"median_seconds": first, "min_seconds": first, "spread": 0.0, "runs": 1}
    calls, times, spent = min(max(int(2e-3 / first), 1), 1000), [], 0.0
    while len(times) < 10 or (spent < 0.3 and len(times) < 200):
        times.append(seconds(calls))
        spent += times[-1] * calls
    times.sort()
    n = len(times)
    return {"median_seconds": times[n // 2], "min_seconds": times[0],
            "spread": (times[n * 3 // 4] - times[n // 4]) / times[n // 2], "runs": n}


KEPT = ("commit", "tiny", "flop", "bytes", "unit", "ceiling")  # of our line in its peers'

# Each part: (peer's name, function that gives the sample, what is timed), as a generator, so that memory is held by one
# peer at a time.

def attention_functions():
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    def by(backend):
        def run(q, k, v):
            with sdpa_kernel(backend):
                return scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v))).transpose(1, 2)
        return run

    if DEVICE == "cpu":
        yield "SDPA", by(SDPBackend.MATH)
        return
    yield "SDPA, cuDNN", by(SDPBackend.CUDNN_ATTENTION)
    yield "SDPA, flash", by(SDPBackend.FLASH_ATTENTION)
    for module in "flash_attn", "flash_attn_interface":
        try:
            function = importlib.import_module(module).flash_attn_func
        except ImportError:
            continue

        def run(q, k, v, function=function):
            out = function(q, k, v)
            return out[0] if isinstance(out, tuple) else out
        yield module, run


def attention(case, backward=False):
    B, H, D = case["batch"], case["heads"], case["head_dim"]
    q = tensor(1, B, case["queries"], H, D, amplitude=2)
    k = tensor(2, B, case["keys"], H, D, amplitude=2)
    v = tensor(3, B, case["keys"], H, D)
    dout = tensor(4, B, case["queries"], H, D)
    for name, function in attention_functions():
        if not backward:
            yield name, lambda: {"out": sample(function(q, k, v))}, lambda: function(q, k, v)
            continue
        inputs = [t.detach().requires_grad_() for t in (q, k, v)]
        out = []

        def gradients():
            if not out:
                out.append(function(*inputs))
            return torch.autograd.grad(out[0], inputs, dout, retain_graph=True)
        yield name, lambda: dict(zip(("dq", "dk", "dv"), map(sample, gradients()))), gradients


def conv2d(case):
    from torch.nn import functional as F
    h, w, c_in, c_out, kernel = (case[key] for key in ("height", "width", "c_in", "c_out", "kernel"))
    zoom = 2 if case["upsample"] else 1
    x = tensor(1, 1, h, w, c_in).permute(0, 3, 1, 2)
    gamma = tensor(2, c_in).reshape(c_in, 1, 1)
    weight = tensor(3, kernel, kernel, c_in, c_out).permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
    bias = tensor(4, c_out)
    residual = tensor(5, 1, zoom * h, zoom * w, c_out).permute(0, 3, 1, 2)

    def layer(x):
        if case["norm"]:
            x = F.silu(F.normalize(x, dim=1) * c_in**0.5 * gamma)
        if case["upsample"]:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        y = F.conv2d(x, weight, bias, padding=kernel // 2)
        return y + residual if case["residual"] else y

    for name, function in ("PyTorch", layer), ("PyTorch, compiled", torch.compile(layer)):
        yield name, lambda: {"y": sample(function(x).permute(0, 2, 3, 1))}, lambda: function(x)


def vae_decode(case):
    from diffusers import AutoencoderKLWan
    vae = AutoencoderKLWan(**case["config"]).eval().requires_grad_(False)
    vae = fill_parameters(vae, lambda name: name.startswith(("decoder.", "post_quant_conv."))).bfloat16()
    side = case["size"] // 8
    latents = tensor(1, 1, case["config"]["z_dim"], 1, side, side, amplitude=2)

    def decode(latents):
        return vae.decode(latents, return_dict=False)[0]

    for name, function in ("diffusers", decode), ("diffusers, compiled", torch.compile(decode)):
        yield name, lambda: {"image": sample(function(latents))}, lambda: function(latents)


def transformer(case):
    """The model in float32, and its inputs."""
    from diffusers import WanTransformer3DModel
    config = {key: value for key, value in case["config"].items() if not key.startswith("_")}
    model = fill_parameters(WanTransformer3DModel(**config))
    B, C, Dt = case["batch"], config["in_channels"], config["text_dim"]
    latents = tensor(1, B, C, 1, case["height"], case["width"], amplitude=2, dtype=torch.float32)
    text = torch.zeros(B, 512, Dt, device=DEVICE)
    text[:, :case["prompt_tokens"]] = tensor(2, case["prompt_tokens"], Dt, dtype=torch.float32)
    return model, latents, torch.full((B,), 500.0, device=DEVICE), text


def transformer_forward(case):
    model, latents, timesteps, text = transformer(case)
    model = model.bfloat16().eval().requires_grad_(False)
    latents, text = latents.bfloat16(), text.bfloat16()
    for name, function in ("diffusers", model), ("diffusers, compiled", torch.compile(model)):
        def run(function=function):
            return function(latents, timesteps, text, return_dict=False)[0]
        yield name, lambda: {"velocity": sample(run())}, run


def student_step(case):
    from torch.nn import functional as F
    for compiled in False, True:
        model, latents, timesteps, text = transformer(case)
        target = tensor(3, *latents.shape, amplitude=2, dtype=torch.float32)
        parameters = list(model.parameters())
        average = [p.detach().clone() for p in parameters]
        optimizer = torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
        function = torch.compile(model) if compiled else model

        def gradients():
            optimizer.zero_grad()
            with torch.autocast(DEVICE, torch.bfloat16):
                velocity = function(latents, timesteps, text, return_dict=False)[0]
            F.mse_loss(velocity.float(), target).backward()
            return velocity, torch.nn.utils.clip_grad_norm_(parameters, 1.0)

        def step():
            gradients()
            optimizer.step()
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1e-3)

        def found():
            velocity, norm = gradients()
            return {"velocity": sample(velocity), "gradient_norm": [norm.item()]}
        yield "diffusers, compiled" if compiled else "diffusers", found, step


PARTS = {"attention": attention, "attention_backward": lambda case: attention(case, backward=True), "conv2d": conv2d,
         "vae_decode": vae_decode, "transformer_forward": transformer_forward, "student_step": student_step}


def run_peers(line, add):
    """One line of gpu_bench against its peers; False if a result is not close."""
    case, good = line["case"], True
    for name, find, work in PARTS[case["op"]](case):
        row = {"bench": "gpu_peers", "device": DEVICE_NAME, "name": line["name"], "shape": line["shape"], "peer": name}
        row.update((key, line[key]) for key in KEPT if key in line)
        try:
            found = find()
            row["difference"] = max(difference(line["sample"][key], found[key]) for key in line["sample"])
            row.update(timing(work))
        except Exception as error:  # a peer that does not run here is no reason to leave out the others
            row["failed"] = f"{type(error).__name__}: {error}".split("\n")[0]
            print(f"{line['name']:<20} {line['shape']:<36} {name:<20} failed: {row['failed']}")
        else:
            close = row["difference"] <= CLOSE[case["op"]]
            good = good and close
            ratio = row["factor"] = row["median_seconds"] / line["median_seconds"]
            row["rate"] = line["rate"] / ratio
            if "ceiling" in line:
                row["percent_of_ceiling"] = 100 * row["rate"] / line["ceiling"]
            print(f"{line['name']:<20} {line['shape']:<36} {name:<20} {1e3 * line['median_seconds']:>10.4f} "
                  f"{1e3 * row['median_seconds']:>10.4f} {row['spread']:>7.1%} {ratio:>7.2f} {row['difference']:>10.4f}"
                  f"{'' if close else '  DIFFERENT'}", flush=True)
        add(row)
    return good


def main():
    global torch, DEVICE, DEVICE_NAME
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try the script itself")
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("gpu_peers: PyTorch is not installed; nothing to compare with")
        return 0
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("gpu_peers: PyTorch finds no GPU; nothing to compare with")
        return 0
    DEVICE = arguments.device
    DEVICE_NAME = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
    torch.backends.cudnn.benchmark = True
    with open(arguments.results) as file:
        lines = [json.loads(line) for line in file if line.strip()]
    lines = [line for line in lines if line["bench"] != "gpu_peers"]  # of an earlier call
    own = [line for line in lines if "case" in line]
    diffusers = importlib.util.find_spec("diffusers") is not None
    print(f"gpu_peers: {DEVICE_NAME}; PyTorch {torch.__version__}, CUDA {torch.version.cuda}, "
          f"cuDNN {torch.backends.cudnn.version()}{'' if diffusers else '; without diffusers no decode and no step'}")
    print(f"{'':<20} {'shape':<36} {'peer':<20} {'ours ms':>10} {'peer ms':>10} {'spread':>7} {'factor':>7} "
          f"{'difference':>10}")
    rows, good = [], True
    for line in own:
        if diffusers or line["case"]["op"] not in ("vae_decode", "transformer_forward", "student_step"):
            good = run_peers(line, rows.append) and good
    temporary = arguments.results + ".tmp"
    with open(temporary, "w") as file:
        for line in lines + rows:
            file.write(json.dumps(line) + "\n")
    os.replace(temporary, arguments.results)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
