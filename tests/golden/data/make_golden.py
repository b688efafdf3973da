"""Writes tokenizer.json and masks.json: token ids and labels of TRL's SFTTrainer for small samples.

Made with trl 1.16.0, transformers 5.23.0, tokenizers 0.23.3, jinja2 3.1.6. Run it in the reference
virtualenv: python make_golden.py. The tokenizer (byte-level BPE of 480 tokens) is trained on the
lines below, so that running the script again gives the same files.

The data pipeline is TRL's own: SFTTrainer._prepare_dataset, called without a model. Where a chat
template has no {% generation %} blocks TRL cannot mask several turns; there the expected mask is the
union of TRL's masks of {prompt: messages before the turn, completion: [the turn]} over all turns.
"""

import copy
import json
import pathlib
import types

import jinja2
import tokenizers
import transformers
import trl
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast
from trl import SFTTrainer

HERE = pathlib.Path(__file__).parent
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
CORPUS = [
    "user\nassistant\nsystem\ntool\n",
    "What color is the sky? It is blue.\n\nThe sky is blue, the grass is green.\n\n\n",
    "Turn on the light in the kitchen.\n\n\n\nassistant\n\n\nThe light in the kitchen is on now.",
    '{"action": "turn_on", "device": "light", "room": "kitchen"}\n',
    "Two and two is four, and four and four is eight. Is it? It is.\n\n",
    "What is two and two? What is the color of the grass? the the the light light kitchen kitchen\n",
] * 4

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATES = {
    # No generation blocks, a default system prompt, as SmolLM2 has it.
    "chatml": "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}"
    "{% endif %}" + CHATML,
    "marked": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}"
    "{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    # The block holds the words alone: tokens may reach over both of its ends.
    "words": "{{ bos_token }}{% for message in messages %}{{ '[' + message['role'] + ']\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}"
    "{% endgeneration %}{% else %}{{ message['content'] }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]\n' }}{% endif %}",
    # A generation prompt that opens a thought, which the conversation does not hold.
    "thinking": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n'"
    " + message['content'] | trim + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n[think]\n' }}{% endif %}",
}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


TURNS = [
    {"role": "system", "content": "Answer in one sentence."},
    user("What color is the sky?"),
    assistant("It is blue."),
    user("And the grass? \U0001f331"),
    assistant("The grass is green, caf\u00e9 \U0001f917 and all."),
]
NEWLINES = [user("Turn on the light.\n"), assistant("\n\nThe light is on.\n"), user("\n"), assistant("\n")]
ROWS = {
    "text": {"text": "The sky is blue."},
    "text_with_eos": {"text": "It is four.</s>"},
    "text_unicode": {"text": "caf\u00e9 \U0001f917\U0001f3fd \u4f60\u597d\n\n\nThe  end"},
    "completion": {"prompt": "The sky is", "completion": " blue."},
    # The last token of the prompt merges with the completion's first.
    "completion_merges": {"prompt": "The sk", "completion": "y is blue"},
    "completion_newlines": {"prompt": "The light:\n", "completion": "\n\non"},
    "completion_with_eos": {"prompt": "Two and two is ", "completion": "four</s>"},
    "completion_empty": {"prompt": "Two", "completion": ""},
    "chat": {"messages": TURNS},
    "chat_one": {"messages": [user("What is two and two?"), assistant("four")]},
    "chat_newlines": {"messages": NEWLINES},
    "chat_open": {"messages": TURNS[:4]},
    "chat_twice": {"messages": [user("Is it?"), assistant("It is."), assistant("It is blue.")]},
    "chat_special": {"messages": [user("Say <|im_end|> now"), assistant("<|im_end|> and </s>")]},
    "turns": {"prompt": TURNS[:4], "completion": TURNS[4:]},
    "turns_late": {"prompt": TURNS[:2], "completion": TURNS[2:]},
    "turns_newlines": {"prompt": NEWLINES[:1], "completion": NEWLINES[1:2]},
}


def make_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)]),
        ]
    )
    tokenizer.save(str(HERE / "tokenizer.json"), pretty=False)


def prepare(tokenizer, row, template, *, assistant_only=False, completion_only=True, max_length=None):
    """input_ids and labels of one row, or None when TRL drops it."""
    tokenizer.chat_template = TEMPLATES[template]
    trainer = object.__new__(SFTTrainer)
    trainer._tokenizer = tokenizer
    trainer.chat_template = None
    trainer.completion_only_loss = completion_only
    args = types.SimpleNamespace(
        dataset_num_proc=None,
        dataset_text_field="text",
        assistant_only_loss=assistant_only,
        max_length=max_length,
        truncation_mode="keep_start",
        shuffle_dataset=False,
    )
    dataset = Dataset.from_list([copy.deepcopy(row)])
    done = trainer._prepare_dataset(dataset, tokenizer, args, False, None, "golden")
    return (list(done[0]["input_ids"]), list(done[0]["labels"])) if len(done) else None


def union_of_turns(tokenizer, row, template):
    messages = row["messages"]
    whole, _ = prepare(tokenizer, row, template)
    learnt = [0] * len(whole)
    for i, message in enumerate(messages):
        if message["role"] != "assistant" or i == 0:
            continue
        ids, labels = prepare(
            tokenizer, {"prompt": messages[:i], "completion": [message]}, template
        )
        assert ids == whole[: len(ids)], "the template does not keep prefixes"
        learnt = [a or int(b != -100) for a, b in zip(learnt, labels + [-100] * len(learnt))]
    return whole, [token if bit else -100 for token, bit in zip(whole, learnt)]


def main():
    make_tokenizer()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(HERE / "tokenizer.json"), bos_token="<s>", eos_token="</s>"
    )
    cases = []

    def add(name, template, loss_on, result, max_length=0):
        case = {"row": name, "template": template, "loss_on": loss_on, "max_length": max_length}
        if result is None:
            case["is_dropped"] = True
        else:
            case["tokens"], labels = result
            case["is_learnt"] = "".join("01"[label != -100] for label in labels)
        cases.append(case)

    for name, row in ROWS.items():
        is_chat = "messages" in row or isinstance(row.get("prompt"), list)
        for template in TEMPLATES if is_chat else ["chatml"]:
            has_blocks = "generation %}" in TEMPLATES[template]
            everything = prepare(tokenizer, row, template, completion_only=False)
            add(name, template, "all", everything)
            if "messages" in row and has_blocks:
                result = prepare(tokenizer, row, template, assistant_only=True)
            elif "messages" in row:
                result = union_of_turns(tokenizer, row, template)
            else:
                result = prepare(tokenizer, row, template)
            add(name, template, "auto", result)
            if "prompt" in row and is_chat and has_blocks:
                result = prepare(tokenizer, row, template, assistant_only=True)
                add(name, template, "assistant", result)
            if name in ("text", "completion", "chat", "turns") and template in ("chatml", "marked"):
                for limit in (3, 8, 20, 33, 50):
                    only = "messages" in row and has_blocks
                    if "messages" in row and not has_blocks:
                        continue
                    result = prepare(
                        tokenizer, row, template, assistant_only=only, max_length=limit
                    )
                    add(name, template, "auto", result, limit)
    golden = {
        "versions": {
            "trl": trl.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
            "jinja2": jinja2.__version__,
        },
        "templates": TEMPLATES,
        "rows": ROWS,
        "cases": cases,
    }
    text = json.dumps(golden, ensure_ascii=True, indent=0, separators=(",", ":"))
    (HERE / "masks.json").write_text(text + "\n")
    print(len(cases), "cases,", sum("is_dropped" in case for case in cases), "dropped")


if __name__ == "__main__":
    main()
