"""Makes the golden masks of this folder: which tokens TRL's SFTTrainer would learn from.

    python tests/golden/masks/make.py

tokenizer.json, tokenizer_config.json   the 128-token tokenizer of the tiny models, with a chat template
KIND.jsonl                              rows of one shape
KIND.expected.json                      for each row its token ids and learnt flags
Conversations learn what the assistant says, its end of turn included (assistant_only_loss); completions
learn all that follows the prompt. Flags of first tokens mean nothing: nothing predicts them.
Made with trl 1.16.0, transformers 5.23.0.
"""
import json
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import tiny  # noqa: E402
import trl_masks  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
TEMPLATE = (
    "{% for message in messages %}{{ '<s>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '</s>\n' }}{% endgeneration %}{% else %}"
    "{{ message['content'] + '</s>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}")


def turn(role: str, content: str) -> dict:
    return {"role": role, "content": content}


CONVERSATIONS = [
    [turn("user", "what is the time"), turn("assistant", "ten")],
    [turn("system", "one word"), turn("user", "the light?"), turn("assistant", "on"), turn("user", "the door?"),
     turn("assistant", "lock"), turn("user", "the heat?"), turn("assistant", "21")],
    [turn("user", "same"), turn("assistant", "same"), turn("user", "same"), turn("assistant", " same\n\nagain ")],
    [turn("user", "set the lamp"), turn("assistant", "{\"device\": \"lamp\", \"state\": \"on\"}")],
]
TEXTS = [("turn on the light in the", " kitchen."), ("the cat ", "sat on the mat"), ("one two thr", "ee four")]
ROWS = {
    "messages": [{"messages": c} for c in CONVERSATIONS],
    "chat_prompt_completion": [{"prompt": c[:-1], "completion": c[-1:]} for c in CONVERSATIONS],
    "text_prompt_completion": [{"prompt": p, "completion": c} for p, c in TEXTS],
    "text": [{"text": p + c} for p, c in TEXTS],
}


def main() -> None:
    tiny.save_tokenizer(HERE)
    tokenizer = AutoTokenizer.from_pretrained(HERE)
    tokenizer.chat_template = TEMPLATE
    plain = TEMPLATE.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    for conversation in CONVERSATIONS:
        texts = [tokenizer.apply_chat_template(conversation, chat_template=t, tokenize=False)
                 for t in (TEMPLATE, plain)]
        assert texts[0] == texts[1]
    config = json.loads((HERE / "tokenizer_config.json").read_text())
    config["chat_template"] = plain  # what checkpoints have: no marks, so the spans must be found
    (HERE / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    for kind, rows in ROWS.items():
        path = HERE / f"{kind}.jsonl"
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
        with tempfile.TemporaryDirectory() as work:
            made = trl_masks.by_trl(path, tokenizer, pathlib.Path(work), assistant_only=kind == "messages")
        lines = [json.dumps({"tokens": ids, "learnt": learnt}) for ids, learnt in made]
        (HERE / f"{kind}.expected.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
