#!/usr/bin/env python3
"""Compares this program with diffusers, the reference implementation (scripts/check_diffusers.sh runs it).

    check_diffusers.py --student DIR [--teacher data/tiny-wan] [--work build/check-diffusers]

1. The student folder opens in WanPipeline and draws the same picture from the same noise.
2. So does the teacher, guided, with both experts.
3. The example in its model card runs.
4. golden_check passes for the teacher at other sizes and for teachers with random weights and other dimensions.
5. tests/golden/student_folder.txt, which the unit tests compare with, still is what diffusers writes
   (--record writes it anew and does nothing else).
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is local; nothing may be fetched
import h5py
import numpy as np
import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
from PIL import Image
from safetensors import safe_open
from diffusers.utils.logging import disable_progress_bar
from transformers import AutoTokenizer, UMT5Config, UMT5EncoderModel
from transformers.utils.logging import disable_progress_bar as disable_transformers_progress_bar

ROOT = Path(__file__).resolve().parent.parent
LATENTS_BOUND = 1e-3  # relative L2 error after a whole sampling
PIXEL_BOUND = 2       # grey levels, of the decoded picture
PROMPTS = ["a small blue heart at the bottom of a white background", "Caf\u00e9 &amp; cr\u00e8me: \u201cquoted\u201d"]

# Sizes unlike each other's and unlike any real model's. Text encoder: d_model, d_kv, heads, d_ff, layers, buckets.
RANDOM_TEACHERS = {
    "head-dim-32": dict(heads=2, head_dim=32, layers=2, ffn=80, freq=64, text=(80, 12, 5, 112, 3, 16), latent=(10, 14),
                        vae=dict(base_dim=8, num_res_blocks=2, dim_mult=[1, 2, 4, 4]), shift=5.0, boundary=0.9,
                        solver_order=2, steps=9, guidance=(5.0, 2.0), student=(3, 16)),
    "head-dim-48": dict(heads=3, head_dim=48, layers=3, ffn=200, freq=128, text=(56, 16, 4, 72, 2, 32), latent=(6, 18),
                        vae=dict(base_dim=8, num_res_blocks=2, dim_mult=[1, 2, 2, 4]), shift=8.0, boundary=0.5,
                        solver_order=3, steps=6, guidance=(3.0, 7.0), student=(1, 128)),
    "head-dim-20": dict(heads=5, head_dim=20, layers=1, ffn=77, freq=32, text=(48, 20, 3, 33, 1, 8), latent=(14, 4),
                        vae=dict(base_dim=12, num_res_blocks=1, dim_mult=[1, 1, 3, 5]), shift=1.0, boundary=0.7,
                        solver_order=1, steps=4, guidance=(1.5, 1.0), student=(2, 34)),
}

disable_progress_bar()  # they would fill a log
disable_transformers_progress_bar()
failures = []


def report(what, value, bound):
    ok = value <= bound  # false for NaN
    print(f"{what:<60} {value:10.2e}  (bound {bound:g})  {'ok' if ok else 'FAIL'}", flush=True)
    if not ok:
        failures.append(what)


def run(command, what, cwd=ROOT):
    """Runs a program; its output is shown where it fails."""
    done = subprocess.run([str(c) for c in command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        print(done.stdout)
        print(f"{what}: exit code {done.returncode} of: {' '.join(map(str, command))}")
        failures.append(what)
    return done.returncode == 0, done.stdout


# ---------------------------------------------------------------- the same picture from the same noise

def compare_pictures(folder, work, what, height, width, steps, seed, guidance=(1.0, None), **components):
    """Draws PROMPTS with WanPipeline and with `wandistill sample`, from one noise file, and compares. `components`
    replace those that the folder names."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    pipe = WanPipeline.from_pretrained(folder, torch_dtype=torch.float32, **components)
    pipe.set_progress_bar_config(disable=True)
    scale = pipe.vae_scale_factor_spatial
    shape = (len(PROMPTS), pipe.transformer.config.in_channels, 1, height // scale, width // scale)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    with h5py.File(work / "noise.h5", "w") as f:
        f["noise"] = noise.numpy()

    settings = dict(height=height, width=width, num_frames=1, num_inference_steps=steps, guidance_scale=guidance[0],
                    guidance_scale_2=guidance[1])
    # Prompt by prompt: padded to 512 anyway, so a batch would be the same.
    theirs = torch.cat([pipe(prompt=p, latents=noise[i:i + 1].clone(), output_type="latent", **settings).frames
                        for i, p in enumerate(PROMPTS)])
    with torch.no_grad():
        mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (pipe.vae.config.latents_mean, pipe.vae.config.latents_std))
        pictures = pipe.vae.decode(theirs * std + mean).sample[:, :, 0]
    pictures = ((pictures.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).numpy()

    command = [args.wandistill, "sample", "--model", folder, "--prompt", *PROMPTS, "--sampler", "unipc", "--steps", steps,
               "--height", height, "--width", width, "--noise", f"{work / 'noise.h5'}:noise", "--guidance", guidance[0],
               "--save_latents", work / "latents.h5", "--out", work / "pictures"]
    if guidance[1] is not None:
        command += ["--guidance_2", guidance[1]]
    if not run(command, what)[0]:
        return
    with h5py.File(work / "latents.h5") as f:
        ours = f["latents"][...]
    if ours.shape != tuple(theirs.shape):
        print(f"{what}: latents of shape {ours.shape}, expected {tuple(theirs.shape)}")
        failures.append(what)
        return
    theirs = theirs.numpy()
    for i in range(len(PROMPTS)):
        report(f"{what}: latents of prompt {i}", np.linalg.norm(ours[i] - theirs[i]) / np.linalg.norm(theirs[i]), LATENTS_BOUND)
    files = sorted((work / "pictures").glob("*.png"))
    if len(files) != len(PROMPTS):
        print(f"{what}: {len(files)} pictures in {work / 'pictures'}, expected {len(PROMPTS)}")
        failures.append(what)
        return
    for i, file in enumerate(files):
        difference = np.abs(np.asarray(Image.open(file).convert("RGB"), dtype=np.float64) - pictures[i])
        report(f"{what}: picture {i}, grey levels", difference.max(), PIXEL_BOUND)


def run_model_card(student, work):
    """The Python in the student's README.md, as a reader would run it: in a copy of the folder."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(student, work, symlinks=True)
    code = (work / "README.md").read_text().split("```python\n")[1].split("```")[0]
    if run([sys.executable, "-c", code], "the model card's example", cwd=work)[0]:
        picture = Image.open(work / "picture.png")
        print(f"the model card's example drew {picture.width} x {picture.height} pixels")


# ---------------------------------------------------------------- what a student's folder holds

def student_folder(work):
    """Configs and tensors of a student's folder as diffusers itself writes it, one per line, sorted."""
    pipe = WanPipeline.from_pretrained(args.teacher, torch_dtype=torch.float32)
    transformer = WanTransformer3DModel(num_attention_heads=2, attention_head_dim=32, in_channels=16, out_channels=16, text_dim=96,
                                        freq_dim=256, ffn_dim=192, num_layers=2, rope_max_seq_len=64)
    scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config, solver_order=1, flow_shift=2.5,
                                                    disable_corrector=list(range(1000)))
    shutil.rmtree(work, ignore_errors=True)
    WanPipeline(tokenizer=pipe.tokenizer, text_encoder=pipe.text_encoder, vae=pipe.vae, scheduler=scheduler,
                transformer=transformer).save_pretrained(work)
    lines = []
    for name in ("model_index.json", "scheduler/scheduler_config.json", "transformer/config.json"):
        for key, value in json.loads((work / name).read_text()).items():
            # Others with "_" are remarks; the tokenizer's class has other names in other versions of transformers.
            if key == "_class_name" or not (key.startswith("_") or key == "tokenizer"):
                lines.append(f"{name} {key} {json.dumps(value, separators=(',', ':'))}")
    name = "transformer/diffusion_pytorch_model.safetensors"
    with safe_open(work / name, "pt") as f:
        for key in f.keys():
            lines.append(f"{name} {key} {f.get_slice(key).get_dtype()} {json.dumps(f.get_slice(key).get_shape(), separators=(',', ':'))}")
    return "".join(line + "\n" for line in sorted(lines))


# ---------------------------------------------------------------- teachers with random weights

def unsettle(module, generator):
    """Norm weights and biases start as ones and zeros: a forgotten one would not show."""
    for p in module.parameters():
        if p.ndim <= 1 or p.shape.numel() == max(p.shape):
            p.data += 0.1 * torch.randn(p.shape, generator=generator)


def mix_dtypes(module):
    """Parameters in float32, bfloat16 and float16 in turn."""
    for i, p in enumerate(module.parameters()):
        p.data = p.data.to((torch.float32, torch.bfloat16, torch.float16)[i % 3])
    return module


def make_random_teacher(out, size, tokenizer, vocabulary, seed):
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    shutil.copytree(tokenizer, out / "tokenizer")

    d_model, d_kv, heads, d_ff, layers, buckets = size["text"]
    text = UMT5EncoderModel(UMT5Config(vocab_size=vocabulary, d_model=d_model, d_kv=d_kv, num_heads=heads, d_ff=d_ff,
                                       num_layers=layers, relative_attention_num_buckets=buckets,
                                       relative_attention_max_distance=50))
    for name, p in text.named_parameters():
        if "relative_attention_bias" in name:
            p.data = torch.randn(p.shape, generator=g)
    unsettle(text, g)
    text.to(torch.bfloat16).save_pretrained(out / "text_encoder", max_shard_size="60KB")

    for name in ("transformer", "transformer_2"):
        transformer = WanTransformer3DModel(
            num_attention_heads=size["heads"], attention_head_dim=size["head_dim"], in_channels=16, out_channels=16,
            text_dim=d_model, freq_dim=size["freq"], ffn_dim=size["ffn"], num_layers=size["layers"], rope_max_seq_len=64)
        unsettle(transformer, g)
        mix_dtypes(transformer).save_pretrained(out / name, max_shard_size="150KB")

    vae = AutoencoderKLWan(z_dim=16, temperal_downsample=[False, True, True],
                           latents_mean=torch.randn(16, generator=g).mul(0.2).tolist(),
                           latents_std=torch.rand(16, generator=g).add(0.3).tolist(), **size["vae"])
    unsettle(vae, g)
    mix_dtypes(vae).save_pretrained(out / "vae")

    UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=size["shift"],
                            solver_order=size["solver_order"]).save_pretrained(out / "scheduler")
    index = {"_class_name": "WanPipeline", "boundary_ratio": size["boundary"], "expand_timesteps": False,
             "scheduler": ["diffusers", "UniPCMultistepScheduler"], "text_encoder": ["transformers", "UMT5EncoderModel"],
             "tokenizer": ["transformers", "T5TokenizerFast"], "vae": ["diffusers", "AutoencoderKLWan"],
             "transformer": ["diffusers", "WanTransformer3DModel"], "transformer_2": ["diffusers", "WanTransformer3DModel"]}
    (out / "model_index.json").write_text(json.dumps(index, indent=2))


def golden(teacher, work, what, seed, *options):
    """Fresh reference numbers for the teacher, and golden_check on them."""
    file = work / f"{what}.h5"
    made, _ = run([sys.executable, "tests/golden/make_golden.py", "--teacher", teacher, "--out", file, "--seed", seed, *options],
                  f"reference numbers of {what}")
    if made:
        passed, output = run([args.golden_check, "--teacher", teacher, "--golden", file], f"golden check of {what}")
        print(f"{what:<60} {output.strip().splitlines()[-1]}" if passed else f"{what}: FAIL", flush=True)


def golden_checks(work):
    work.mkdir(parents=True, exist_ok=True)
    golden(args.teacher, work, "teacher-wide", 11, "--latent", 10, 14, "--guidance", 2.5, "--guidance2", 5, "--steps", 7,
           "--student-heads", 3, "--student-head-dim", 48)
    golden(args.teacher, work, "teacher-tall", 12, "--latent", 18, 6, "--guidance", 6, "--guidance2", 1, "--steps", 12,
           "--student-layers", 3, "--student-heads", 2, "--student-head-dim", 64, "--prompts", *PROMPTS,
           "words </s> and <pad> are special", " ".join(["a very long prompt"] * 200))
    vocabulary = json.loads((Path(args.teacher) / "text_encoder" / "config.json").read_text())["vocab_size"]
    for seed, (name, size) in enumerate(RANDOM_TEACHERS.items(), start=21):
        folder = work / name
        make_random_teacher(folder, size, Path(args.teacher) / "tokenizer", vocabulary, seed)
        golden(folder, work, "random-" + name, seed, "--latent", *size["latent"], "--steps", size["steps"],
               "--guidance", size["guidance"][0], "--guidance2", size["guidance"][1],
               "--student-heads", size["student"][0], "--student-head-dim", size["student"][1])


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--student", type=Path, help="folder that a training run exported")
parser.add_argument("--record", action="store_true", help="write tests/golden/student_folder.txt anew")
parser.add_argument("--teacher", type=Path, default=ROOT / "data" / "tiny-wan")
parser.add_argument("--work", type=Path, default=ROOT / "build" / "check-diffusers")
parser.add_argument("--wandistill", type=Path, default=ROOT / "bin" / "wandistill")
parser.add_argument("--golden_check", type=Path, default=ROOT / "bin" / "golden_check")
args = parser.parse_args()
if not args.student and not args.record:
    parser.error("--student is missing")
args.student = args.student or args.teacher
for name in ("student", "teacher", "work", "wandistill", "golden_check"):
    setattr(args, name, getattr(args, name).absolute())

recording, recorded = student_folder(args.work / "recording"), ROOT / "tests" / "golden" / "student_folder.txt"
if args.record:
    recorded.write_text(recording)
    sys.exit(0)
lost = set(recorded.read_text().splitlines()) - set(recording.splitlines())  # newer versions may write more keys
if lost:
    print("tests/golden/student_folder.txt has what diffusers does not write (see --record):", *sorted(lost), sep="\n  ")
    failures.append("recorded student folder")
side = json.loads((args.student / "model_index.json").read_text()).get("_image_size", 1024)
compare_pictures(args.student, args.work / "student", "student, 10 steps", side, side, 10, seed=1)
compare_pictures(args.student, args.work / "student-wide", "student, wide, 7 steps", side, 2 * side, 7, seed=2)
# The teacher's index names a T5 tokenizer, which in transformers 5 has lost its byte pieces; AutoTokenizer has them.
compare_pictures(args.teacher, args.work / "teacher", "teacher, guided, 10 steps", side, side, 10, seed=3, guidance=(4.0, 3.0),
                 tokenizer=AutoTokenizer.from_pretrained(args.teacher / "tokenizer"))
run_model_card(args.student, args.work / "card")
golden_checks(args.work / "golden")

print(f"check-diffusers: {len(failures)} failed" + "".join(f"\n  {f}" for f in failures) if failures
      else "check-diffusers: all within bounds")
sys.exit(bool(failures))
