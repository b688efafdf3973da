"""Which tokens are learnt: token for token what TRL's SFTTrainer makes of the same rows."""
import json

import pytest
import trl_masks

# The template of SmolLM2 with the marks that TRL needs around what the assistant says: everything after
# the generation prompt up to the next turn, as in TRL's own training templates.
TRAINING_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n'}}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' + '\n' }}{% endgeneration %}{% else %}"
    "{{ message['content'] + '<|im_end|>' + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def turn(role: str, content: str) -> dict:
    return {"role": role, "content": content}


CONVERSATIONS = [
    [turn("user", "Hi"), turn("assistant", "Hello! What can I do?")],
    [turn("system", "Answer in one word."), turn("user", "Sky?"), turn("assistant", "Blue"), turn("user", "Grass?"),
     turn("assistant", "Green"), turn("user", "Snow?"), turn("assistant", "White")],
    [turn("user", "Zähle bis drei 🙂\n\n"), turn("assistant", "eins\nzwei\n\tdrei"), turn("user", "und weiter?"),
     turn("assistant", " vier ")],
    [turn("user", "same"), turn("assistant", "same"), turn("user", "same"), turn("assistant", "same")],
    [turn("user", "Say the word assistant."), turn("assistant", "assistant"), turn("user", "Again, as JSON"),
     turn("assistant", "{\"role\": \"assistant\", \"content\": \"<im_start>\"}")],
]
TEXTS = [("Q: 2 + 2 =\nA:", " 4"), ("Translate: Haus\n", "house"), ("prefix ", "and more, 12 words or so"),
         ("naïve 🙂 ", "→ done\n")]
ROWS = {
    "messages": [{"messages": c} for c in CONVERSATIONS],
    "chat_prompt_completion": [{"prompt": c[:-1], "completion": c[-1:]} for c in CONVERSATIONS],
    "text_prompt_completion": [{"prompt": p, "completion": c} for p, c in TEXTS],
    "text": [{"text": p + c} for p, c in TEXTS],
}


@pytest.mark.parametrize("kind", ROWS)
def test_masks(moxie, smollm_gguf, smollm_tokenizer, tmp_path, kind):
    path = tmp_path / f"{kind}.jsonl"
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in ROWS[kind]))
    template = smollm_tokenizer.chat_template
    plain = [smollm_tokenizer.apply_chat_template(c, tokenize=False) for c in CONVERSATIONS]
    try:
        smollm_tokenizer.chat_template = TRAINING_TEMPLATE
        assert plain == [smollm_tokenizer.apply_chat_template(c, tokenize=False) for c in CONVERSATIONS]
        expected = trl_masks.by_trl(path, smollm_tokenizer, tmp_path, assistant_only=kind == "messages")
    finally:
        smollm_tokenizer.chat_template = template
    chat = ["--chat"] if "text" not in kind else []
    ours = [(row["tokens"], row["learnt"]) for row in moxie.json_lines("tokenize", smollm_gguf, "--data", path, *chat)]
    assert len(ours) == len(expected)
    for (ids, learnt), (their_ids, their_learnt) in zip(ours, expected):
        assert ids == their_ids, f"tokens differ: {smollm_tokenizer.decode(ids)!r}"
        # The first token is predicted by nothing: whether it counts as learnt means nothing.
        assert learnt[1:] == their_learnt[1:], [smollm_tokenizer.decode(i) for i, a, b in
                                                zip(ids, learnt, their_learnt) if a != b]
