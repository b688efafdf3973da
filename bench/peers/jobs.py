"""The jobs: what Moxie does, what it is compared with, and which ratio is aimed at. A side is either
moxie's arguments or a peer's script with what it is told."""
import dataclasses
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
THREADS = os.cpu_count()
RAGGED = ROOT / "examples/home-commands/train.jsonl"


@dataclasses.dataclass
class Side:
    label: str
    moxie: list | None = None   # arguments of `moxie bench`, or of a start
    script: str = ""            # of a peer
    job: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Job:
    name: str
    title: str
    ours: Side
    theirs: Side
    target: float | None = None  # ratio aimed at
    needs: str = ""              # a CPU feature without which the pair says nothing
    unit: str = "tok/s"


def moxie(label, *args, threads=THREADS):
    return Side(label, moxie=[str(a) for a in args] + ["--threads", str(threads)])


def torch_side(model, lengths, dtype="f32", method="lora", compile=False, batch=8, label=None):
    label = label or f"PEFT {dtype}" + (", torch.compile" if compile else "")
    return Side(label, script="peer_torch.py",
                job={"model": model, "lengths": lengths, "batch": batch, "dtype": dtype,
                     "method": method, "rank": 16, "compile": compile, "threads": THREADS})


def training(smol, ragged, limits):
    lora = ["train", smol, "--rank", 16]
    # The faster of the peer's: on an Intel without AMX oneDNN multiplies f32 faster than bf16.
    best = "bf16" if limits.get("bf16_product_gflops", 0) > 1.2 * limits["f32_product_gflops"] else "f32"
    shapes = [(8, 512, 3.5), (1, 2048, 3.5), (8, 128, 3.5)]
    for batch, tokens, target in shapes:
        shape = ["--batch", batch, "--tokens", tokens]
        yield Job(f"train-{batch}x{tokens}-f32", f"LoRA {batch} x {tokens}, f32",
                  moxie("f32", *lora, *shape, "--dtype", "f32"),
                  torch_side(smol, [tokens] * batch, batch=batch), target)
        yield Job(f"train-{batch}x{tokens}-int8", f"LoRA {batch} x {tokens}, in integers",
                  moxie("int8", *lora, *shape, "--dtype", "int8"),
                  torch_side(smol, [tokens] * batch, best, batch=batch), 4.5)
        yield Job(f"train-{batch}x{tokens}-bf16", f"LoRA {batch} x {tokens}, bf16",
                  moxie("bf16", *lora, *shape, "--dtype", "bf16"),
                  torch_side(smol, [tokens] * batch, "bf16", batch=batch), 4.5, needs="avx512_bf16")
    yield Job("train-compile", "LoRA 8 x 512 against torch.compile",
              moxie("auto", *lora, "--batch", 8, "--tokens", 512),
              torch_side(smol, [512] * 8, best, compile=True), 3.4)
    yield Job("train-ragged", "LoRA on " + pathlib.Path(ragged).name + " as long as it is, batches of 8",
              moxie("auto", *lora, "--batch", 8, "--steps", 4, "--data", ragged),
              torch_side(smol, None, best), 6.0)
    yield Job("train-full", "full fine-tuning, 4 x 256",
              moxie("auto", "train", smol, "--method", "full", "--batch", 4, "--tokens", 256),
              torch_side(smol, [256] * 4, best, method="full", batch=4, label=f"PyTorch {best}"), 2.5)


def own_ratios(smol, smol_bf16):
    shape = ["--batch", 4, "--tokens", 512]
    yield Job("self-train-q4_1", "LoRA 4 x 512 on Q4_1 against BF16 weights",
              moxie("Q4_1", "train", smol, *shape), moxie("BF16", "train", smol_bf16, *shape), 0.8)
    yield Job("self-train-threads", f"LoRA 4 x 512, {THREADS} threads against one",
              moxie(f"{THREADS} threads", "train", smol, *shape),
              moxie("1 thread", "train", smol, *shape, threads=1), 1.85 if THREADS == 2 else None)
    yield Job("self-limits-threads", f"multiply-adds on operands in L1, {THREADS} threads against one: the most "
              "that threads give here", moxie(f"{THREADS} threads", "limits"), moxie("1 thread", "limits", threads=1),
              unit="GFLOP/s")
    prompt = ["prefill", smol, "--tokens", 512]
    yield Job("self-prefill-threads", f"prompt of 512, {THREADS} threads against one",
              moxie(f"{THREADS} threads", *prompt), moxie("1 thread", *prompt, threads=1),
              1.85 if THREADS == 2 else None)
    yield Job("self-prefill-adapter", "prompt of 512, LoRA attached against none",
              moxie("attached", *prompt, "--attach"), moxie("none", *prompt), 0.95)
    decode = ["decode", smol, "--tokens", 64]
    yield Job("self-decode-adapter", "decoding, LoRA attached against none",
              moxie("attached", *decode, "--attach"), moxie("none", *decode), 0.95)
    yield Job("self-decode-16", "decoding 16 sequences at once against one",
              moxie("16", *decode, "--batch", 16), moxie("1", *decode), 8.0)
    yield Job("self-prefill-8192", "prompt of 8,192 against 512 (with its attention)",
              moxie("8192", "prefill", smol, "--tokens", 8192), moxie("512", *prompt))


LLAMA_TARGETS = {"Q4_1": (6.3, 1.8), "Q4_0": (1.6, 1.5), "Q8_0": (2.9, 1.6), "BF16": (1.3, 1.2),
                 "Q4_K": (3.2, 2.0)}


def inference(models):
    for what, place in (("prefill", 0), ("decode", 1)):
        for name, (path, vocab, kind) in models.items():
            tokens = 512 if what == "prefill" else 64
            title = f"{name} {'prompt of 512' if what == 'prefill' else 'decoding'}"
            told = {"what": what, "model": path, "tokens": tokens, "context": 64, "threads": THREADS,
                    "vocab": vocab}
            ours = moxie("auto", what, path, "--tokens", tokens)
            yield Job(f"{what}-{name}-llama", title, ours,
                      Side("llama.cpp", script="peer_llama.py", job=told), LLAMA_TARGETS[kind][place])
            if name.startswith("SmolLM2") and kind != "BF16":
                yield Job(f"{what}-{name}-openvino", title, ours,
                          Side("OpenVINO GenAI", script="peer_openvino.py", job=told),
                          1.3 if what == "prefill" else None)
    path, vocab, _ = models["SmolLM2-Q4_1"]
    told = {"what": "decode", "model": path, "tokens": 64, "threads": THREADS, "vocab": vocab}
    yield Job("decode-long-llama", "decoding after 2,048 tokens",
              moxie("auto", "decode", path, "--tokens", 64, "--context", 2048),
              Side("llama.cpp", script="peer_llama.py", job={**told, "context": 2048}))
    yield Job("decode-16-llama", "decoding 16 sequences at once",
              moxie("auto", "decode", path, "--tokens", 64, "--batch", 16),
              Side("llama.cpp", script="peer_llama.py", job={**told, "context": 64, "batch": 16}))
    yield Job("start-llama", "start to first token of a short prompt",
              Side("moxie generate", moxie=["generate", path, "--raw", "--max-tokens", "1", "--quiet",
                                            "--prompt", "The three largest cities of Italy are, by far,"]),
              Side("llama.cpp", script="peer_llama.py",
                   job={"what": "start", "model": path, "tokens": 10, "context": 10,
                        "threads": THREADS}), 1.0, unit="starts/s")


def all_jobs(models, ragged, limits):
    smol, smol_bf16 = models["SmolLM2-Q4_1"][0], models["SmolLM2-BF16"][0]
    return [*training(smol, ragged, limits), *inference(models), *own_ratios(smol, smol_bf16)]
