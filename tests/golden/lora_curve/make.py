"""Makes the golden training curves of this folder with transformers and PEFT, in f32, 30 steps each.

    python tests/golden/lora_curve/make.py

    base/               a tiny llama checkpoint (tied embeddings) with its tokenizer
    adapter_init/       a PEFT LoRA (r 8, alpha 16, every projection) with a non-zero B
    prompts.jsonl       120 {prompt, completion} lines, read in order, 4 a step; lora.json, adapter_final/
    texts.jsonl         120 {text} lines, likewise; full.json, full_final.safetensors (every parameter)

The command that repeats a curve stands in its json under "flags"; losses, gradient norms (before the
clipping) and learning rates stand beside it. The script checks its loop against TRL's SFTTrainer.
Made with transformers 5.23.0, peft 0.21.2, trl 1.16.0, torch 2.15.0.
"""
import json
import pathlib
import random
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import peft  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402
import trainer  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import AutoConfig, AutoTokenizer  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
STEPS, BATCH = 30, 4
CONFIG = dict(vocab_size=tiny.VOCAB, hidden_size=48, intermediate_size=64, num_hidden_layers=2,
              num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
              bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=True,
              rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def write_data(rng: random.Random) -> None:
    words = "the cat dog lamp light door song heat room hall kitchen park time sea mat gate".split()
    verbs = "turn on|turn off|set|stop|lock|play|open|close".split("|")
    with open(HERE / "prompts.jsonl", "w") as prompts, open(HERE / "texts.jsonl", "w") as texts:
        for _ in range(STEPS * BATCH):
            thing, verb = rng.choice(words), rng.choice(verbs)
            place = " ".join(rng.choices(words, k=rng.randint(1, 6)))
            prompt = f"{verb} the {thing} in the {place}."
            completion = ' {"device": "%s", "state": "%s"}' % (thing, verb.split()[-1])
            prompts.write(json.dumps({"prompt": prompt, "completion": completion}) + "\n")
            texts.write(json.dumps({"text": " ".join(rng.choices(words, k=rng.randint(4, 20))) + "."}) + "\n")


def make_base() -> None:
    shutil.rmtree(HERE / "base", ignore_errors=True)
    model = tiny.build(AutoConfig.for_model("llama", **CONFIG), seed=7)
    model.save_pretrained(HERE / "base")
    (HERE / "base" / "generation_config.json").unlink(missing_ok=True)
    tiny.save_tokenizer(HERE / "base")


def lora(folder: pathlib.Path | None = None):
    base = tiny.load(HERE / "base")
    if folder:
        return peft.PeftModel.from_pretrained(base, folder, is_trainable=True)
    config = peft.LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM")
    config.base_model_name_or_path = "base"
    model = peft.get_peft_model(base, config)
    gen = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_" in name:
                p.copy_(torch.randn(p.shape, generator=gen) * (0.05 if "lora_B" in name else 0.1))
    return model


def save_adapter(model, folder: pathlib.Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"] = sorted(config["target_modules"])
    config["base_model_name_or_path"] = "base"
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def write_curve(name: str, curve: dict, flags: list[str]) -> None:
    rounded = {k: [float(f"{x:.9g}") for x in v] for k, v in curve.items()}
    (HERE / f"{name}.json").write_text(json.dumps({"flags": flags, **rounded}, indent=1) + "\n")
    print(f"{name}: loss {curve['losses'][0]:.4f} -> {curve['losses'][-1]:.4f}")


def check_against_trl(data: pathlib.Path, curve: dict, lr: float, model) -> None:
    """The loop of trainer.py against SFTTrainer on the same data, order and initial weights."""
    from datasets import load_dataset
    from torch.utils.data import SequentialSampler
    from trl import SFTConfig, SFTTrainer

    class InOrder(SFTTrainer):
        def _get_train_sampler(self, *args, **kwargs):
            return SequentialSampler(self.train_dataset)

    with tempfile.TemporaryDirectory() as work:
        rows = load_dataset("json", data_files=str(data), split="train", cache_dir=work)
        config = SFTConfig(output_dir=work, per_device_train_batch_size=BATCH, max_steps=STEPS, learning_rate=lr,
                           lr_scheduler_type="cosine", warmup_steps=3, logging_steps=1, report_to=[],
                           save_strategy="no", bf16=False, use_cpu=True, gradient_checkpointing=False,
                           weight_decay=0.0, max_length=1024, disable_tqdm=True)
        sft = InOrder(model=model, args=config, train_dataset=rows,
                      processing_class=AutoTokenizer.from_pretrained(HERE / "base"))
        sft.train()
        theirs = [h["loss"] for h in sft.state.log_history if "loss" in h]
    worst = max(abs(a - b) / b for a, b in zip(curve["losses"], theirs, strict=True))
    print(f"  loop against SFTTrainer: worst loss differs by {worst:.1e}")
    assert worst < 1e-4


def main() -> None:
    torch.set_num_threads(1)
    write_data(random.Random(5))
    make_base()
    tokenizer = AutoTokenizer.from_pretrained(HERE / "base")
    common = ["--batch-size", "4", "--steps", "30", "--schedule", "cosine", "--warmup", "0.1", "--no-shuffle",
              "--dtype", "f32"]

    save_adapter(lora(), HERE / "adapter_init")
    model = lora(HERE / "adapter_init")
    examples = trainer.read_examples(HERE / "prompts.jsonl", tokenizer)
    curve = trainer.train(model, examples, steps=STEPS, lr=2e-3, warmup=0.1)
    save_adapter(model, HERE / "adapter_final")
    write_curve("lora", curve, ["tune", "base", "--data", "prompts.jsonl", "--init-adapter", "adapter_init",
                                "--lr", "2e-3", *common])
    check_against_trl(HERE / "prompts.jsonl", curve, 2e-3, lora(HERE / "adapter_init"))

    model = tiny.load(HERE / "base")
    examples = trainer.read_examples(HERE / "texts.jsonl", tokenizer)
    curve = trainer.train(model, examples, steps=STEPS, lr=1e-3, warmup=0.1)
    state = {k: v.contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_file(state, str(HERE / "full_final.safetensors"))
    write_curve("full", curve, ["tune", "base", "--method", "full", "--data", "texts.jsonl", "--lr", "1e-3",
                                *common])
    check_against_trl(HERE / "texts.jsonl", curve, 1e-3, tiny.load(HERE / "base"))


if __name__ == "__main__":
    main()
