"""LoRA or full training by PyTorch, transformers and PEFT: the same steps as `moxie bench train`, on
random tokens of the given lengths, a batch padded to its longest sequence as its users have it."""
import json
import pathlib
import sys
import time

import protocol

job = json.loads(sys.argv[1])

import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

torch.set_num_threads(job["threads"])
path = pathlib.Path(job["model"])
dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[job["dtype"]]
model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype)
model.config.use_cache = False
if job["method"] == "lora":
    # Adapters in the model's own dtype: PEFT's default keeps them in f32, which is slower.
    model = peft.get_peft_model(
        model, peft.LoraConfig(r=job["rank"], lora_alpha=16, target_modules="all-linear"),
        autocast_adapter_dtype=False)
model.train()
step_model = torch.compile(model) if job["compile"] else model
trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-5)
generator = torch.Generator().manual_seed(0)
vocab = model.config.vocab_size


def batches(lengths):
    size = job["batch"]
    for begin in range(0, len(lengths), size):
        group = lengths[begin:begin + size]
        ids = torch.randint(0, vocab, (len(group), max(group)), generator=generator)
        mask = torch.zeros_like(ids)
        for row, length in enumerate(group):
            mask[row, :length] = 1
        labels = ids.masked_fill(mask == 0, -100)
        yield {"input_ids": ids, "labels": labels} | ({} if mask.all() else {"attention_mask": mask})


def train_round(index):
    # Two sequences are enough to warm up, unless a compiler would then compile for their shape.
    lengths = job["lengths"] if index > 0 or job["compile"] else job["lengths"][:2]
    data = list(batches(lengths))
    start = time.perf_counter()
    for batch in data:
        optimizer.zero_grad(set_to_none=True)
        step_model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
    return {"tokens": sum(lengths), "seconds": time.perf_counter() - start}


protocol.serve({"peer": "PyTorch " + torch.__version__ + ", transformers " + transformers.__version__ +
                        ", PEFT " + peft.__version__,
                "trainable_parameters": sum(p.numel() for p in trained)}, train_round)
