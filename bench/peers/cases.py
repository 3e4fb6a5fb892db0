"""What is compared: for each case the inputs, and diffusers or transformers computing the same by PyTorch.

A case has `subject` (of bin/bench/warm), `model` (folder of the weights, in diffusers' layout), `inputs` (tensors), and for
each of `variants` ("eager", "compiled") prepare(variant), then results(), once, and run(), which is timed.
"""

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from torch.nn import functional as F
from transformers import AutoTokenizer, UMT5EncoderModel

TEXT_POSITIONS = 512
PROMPT_TOKENS = 20
PROMPT = "a large red star on the left of a blue background"


def generator(seed):
    return torch.Generator().manual_seed(seed)


def padded(texts):
    """[B, 512, Dt] from B of [n, Dt]: as WanPipeline gives them to the transformer, which projects all rows."""
    out = torch.zeros(len(texts), TEXT_POSITIONS, texts[0].shape[1])
    for row, text in zip(out, texts):
        row[:len(text)] = text
    return out


# Of students: latents' side (two per token), heads, head dim, blocks, feed-forward's ratio, text's width.
SIZES = {"tiny": (16, 2, 64, 4, 3, 96), "small": (32, 8, 64, 8, 4, 4096), "base": (64, 8, 128, 16, 4, 4096)}


class Case:
    variants = ("eager", "compiled")
    seconds = 0.3  # of a turn, at least
    pairs = 9
    bounds = {}    # of the relative L2 error of an output, where it is not the default

    def compile(self, function, variant):
        return torch.compile(function) if variant == "compiled" else function


class StudentStep(Case):
    """Forward, mean squared error, backward, gradients clipped to 1, AdamW; float32."""
    subject = "student_step"
    frees_gradients = True  # between steps, as is PyTorch's default

    def __init__(self, work, size, batch, pairs=9):
        side, heads, head_dim, layers, mlp, text_dim = SIZES[size]
        self.pairs = pairs
        self.model = work / "transformer"
        torch.manual_seed(1)
        self.network = WanTransformer3DModel(
            num_attention_heads=heads, attention_head_dim=head_dim, num_layers=layers, ffn_dim=mlp * heads * head_dim,
            in_channels=16, out_channels=16, text_dim=text_dim, freq_dim=256)
        with torch.no_grad():  # norms and biases start as ones and zeros: a forgotten one would not show
            for p in self.network.parameters():
                if p.ndim == 1:
                    p.add_(0.05 * torch.randn(p.shape, generator=generator(2)))
        self.network.save_pretrained(self.model, max_shard_size="100GB")
        self.latents = torch.randn(batch, 16, side, side, generator=generator(3))
        self.target = torch.randn(batch, 16, side, side, generator=generator(4))
        self.timesteps = torch.linspace(100, 900, batch)
        texts = [torch.randn(PROMPT_TOKENS, text_dim, generator=generator(5 + b)) for b in range(batch)]
        self.text = padded(texts)
        self.inputs = {"latents": self.latents, "target": self.target, "timesteps": self.timesteps,
                       "text": torch.cat(texts), "text_tokens": torch.tensor([float(len(t)) for t in texts])}
        parameters = sum(p.numel() for p in self.network.parameters())
        self.shape = f"{side * side // 4} tokens x {heads * head_dim}, {layers} blocks, B {batch}, {parameters / 1e6:.1f} M"

    def prepare(self, variant):
        fresh = WanTransformer3DModel.from_pretrained(self.model, torch_dtype=torch.float32).state_dict()
        self.network.load_state_dict(fresh)
        self.network.train()
        self.parameters = list(self.network.parameters())
        if not hasattr(self, "optimizer"):
            self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.01,
                                               fused=True)
        for state in self.optimizer.state.values():
            for tensor in state.values():
                tensor.zero_()
        function = self.compile(self.network, variant)
        return lambda: self.step(function), lambda: self.results(function)

    def loss(self, function):
        velocity = function(self.latents[:, :, None], self.timesteps, self.text, return_dict=False)[0]
        return velocity, F.mse_loss(velocity[:, :, 0], self.target)

    def step(self, function, look=lambda velocity: None):
        self.optimizer.zero_grad(set_to_none=self.frees_gradients)
        velocity, loss = self.loss(function)
        loss.backward()
        look(velocity)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return loss

    def results(self, function):
        out = {}

        def look(velocity):
            out["velocity"] = velocity.detach().clone()
            out["gradient"] = {name: p.grad.clone() for name, p in self.network.named_parameters()}
        losses = [self.step(function, look)]
        losses += [self.step(function), self.step(function)]
        out["loss"] = torch.stack([loss.detach() for loss in losses])
        return out


class StudentStepBf16(StudentStep):
    """The same with products of bfloat16, the peer's by autocast; weights, gradients and sums in float32 on both sides."""
    subject = "student_step_bf16"
    # Of the two sides' own roundings: each is about as far from float32.
    bounds = {"velocity": 3e-2, "gradient": 6e-2, "loss": 1e-2}

    def loss(self, function):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().loss(function)

    def results(self, function):
        out = super().results(function)
        out["velocity"] = out["velocity"].float()
        return out


class TransformerForward(Case):
    """One sample through the embedded teacher's first expert."""
    subject = "transformer_forward"

    def __init__(self, teacher, side):
        self.model = teacher / "transformer"
        self.network = WanTransformer3DModel.from_pretrained(self.model, torch_dtype=torch.float32).eval()
        self.latents = torch.randn(1, 16, side, side, generator=generator(1))
        self.timesteps = torch.tensor([900.0])
        text = torch.randn(PROMPT_TOKENS, self.network.config.text_dim, generator=generator(2))
        self.text = padded([text])
        self.inputs = {"latents": self.latents, "timesteps": self.timesteps, "text": text,
                       "text_tokens": torch.tensor([float(PROMPT_TOKENS)])}
        self.shape = f"{side * side // 4} tokens, {PROMPT_TOKENS} text tokens"

    def prepare(self, variant):
        function = self.compile(self.network, variant)

        @torch.inference_mode()
        def run():
            return function(self.latents[:, :, None], self.timesteps, self.text, return_dict=False)[0]
        return run, lambda: {"velocity": run()}


class TextEncoder(Case):
    """The embedded teacher's text encoder on a prompt of so many tokens. trimmed: the peer too sees no padding, where
    WanPipeline gives it 512 positions."""
    subject = "text_encoder"

    def __init__(self, teacher, tokens, trimmed):
        self.model = teacher / "text_encoder"
        self.network = UMT5EncoderModel.from_pretrained(self.model, dtype=torch.float32).eval()
        ids = torch.randint(3, self.network.config.vocab_size, (tokens,), generator=generator(1))
        ids[-1] = 1
        self.tokens, positions = tokens, tokens if trimmed else TEXT_POSITIONS
        self.ids = torch.zeros(1, positions, dtype=torch.long)
        self.ids[0, :tokens] = ids
        self.mask = (torch.arange(positions) < tokens).long()[None]
        self.inputs = {"ids": ids.float()}
        self.shape = f"{tokens} tokens, peer's {positions} positions"

    def prepare(self, variant):
        function = self.compile(self.network, variant)

        @torch.inference_mode()
        def run():
            return function(self.ids, self.mask).last_hidden_state[0, :self.tokens]
        return run, lambda: {"embedding": run()}


class VaeDecode(Case):
    subject = "vae_decode"

    def __init__(self, teacher, side):
        self.model = teacher / "vae"
        self.network = AutoencoderKLWan.from_pretrained(self.model, torch_dtype=torch.float32).eval()
        self.latents = torch.randn(1, 16, 1, side, side, generator=generator(1))
        self.inputs = {"latents": self.latents[0, :, 0]}
        self.shape = f"{8 * side} x {8 * side} pixels"
        if side > 32:
            self.pairs = 5

    def prepare(self, variant):
        function = self.compile(lambda latents: self.network.decode(latents, return_dict=False)[0], variant)

        @torch.inference_mode()
        def run():
            return function(self.latents)
        return run, lambda: {"image": run()}


class DdimSampling(Case):
    """From prompt to 8-bit pixels with the embedded teacher, 25 steps, guidance 4 and 3: the modules that WanPipeline calls,
    in its order. The negative prompt was encoded before."""
    subject = "ddim_sampling"
    bounds = {"picture": 1e-2}  # grey levels are rounded
    pairs = 5
    STEPS, GUIDANCE = 25, (4.0, 3.0)

    def __init__(self, teacher, index):
        self.model = teacher
        self.boundary = index["boundary_ratio"]
        side = index["_image_size"] // 8
        self.tokenizer = AutoTokenizer.from_pretrained(teacher, subfolder="tokenizer")
        self.encoder = UMT5EncoderModel.from_pretrained(teacher, subfolder="text_encoder", dtype=torch.float32).eval()
        self.experts = [WanTransformer3DModel.from_pretrained(teacher, subfolder=name, torch_dtype=torch.float32).eval()
                        for name in ("transformer", "transformer_2")]
        self.vae = AutoencoderKLWan.from_pretrained(teacher, subfolder="vae", torch_dtype=torch.float32).eval()
        scheduler = UniPCMultistepScheduler.from_pretrained(teacher, subfolder="scheduler")
        scheduler.set_timesteps(self.STEPS)
        self.sigmas = [float(s) for s in scheduler.sigmas]
        self.noise = torch.randn(1, 16, 1, side, side, generator=generator(1))
        self.inputs = {"noise": self.noise[0, :, 0], "prompt": torch.tensor([float(b) for b in PROMPT.encode()])}
        self.shape = f"{8 * side} x {8 * side} pixels, {self.STEPS} steps, guided"

    def encode(self, prompt):
        ids = self.tokenizer([prompt_clean(prompt)], padding="max_length", max_length=TEXT_POSITIONS, truncation=True,
                             return_tensors="pt", return_attention_mask=True)
        tokens = int(ids.attention_mask.sum())
        return padded([self.encode_ids(ids.input_ids, ids.attention_mask).last_hidden_state[0, :tokens]])

    def prepare(self, variant):
        self.encode_ids = self.compile(self.encoder, variant)
        experts = [self.compile(expert, variant) for expert in self.experts]
        decode = self.compile(lambda latents: self.vae.decode(latents, return_dict=False)[0], variant)
        mean, std = (torch.tensor(values).view(1, -1, 1, 1, 1)
                     for values in (self.vae.config.latents_mean, self.vae.config.latents_std))
        with torch.inference_mode():
            negative = self.encode("")

        @torch.inference_mode()
        def run():
            text, x = self.encode(PROMPT), self.noise
            for sigma, following in zip(self.sigmas, self.sigmas[1:]):
                low = sigma < self.boundary
                timestep = torch.tensor([1000 * sigma])
                cond, uncond = (experts[low](x, timestep, rows, return_dict=False)[0] for rows in (text, negative))
                v = uncond + self.GUIDANCE[low] * (cond - uncond)
                x0, noise = x - sigma * v, x + (1 - sigma) * v
                x = (1 - following) * x0 + following * noise
            image = decode(x * std + mean)[0, :, 0].clamp(-1, 1)
            return x, ((image + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0)

        def results():
            x, picture = run()
            return {"latents": x, "picture": picture}
        return run, results


