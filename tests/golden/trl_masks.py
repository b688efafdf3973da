"""Token ids and learnt flags of rows, out of the data set that TRL's SFTTrainer prepares."""
from datasets import load_dataset
from transformers import AutoConfig, AutoModelForCausalLM
from trl import SFTConfig, SFTTrainer


def by_trl(path, tokenizer, work, assistant_only: bool) -> list[tuple[list[int], list[int]]]:
    tiny = AutoConfig.for_model("llama", hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                                num_attention_heads=1, num_key_value_heads=1, vocab_size=len(tokenizer))
    rows = load_dataset("json", data_files=str(path), split="train", cache_dir=str(work / "cache"))
    config = SFTConfig(output_dir=str(work / "trl"), report_to=[], use_cpu=True, bf16=False, max_length=None,
                       assistant_only_loss=assistant_only, gradient_checkpointing=False)
    sft = SFTTrainer(model=AutoModelForCausalLM.from_config(tiny), args=config, train_dataset=rows,
                     processing_class=tokenizer)
    return [(row["input_ids"], [int(label != -100) for label in row["labels"]]) for row in sft.train_dataset]
