#!/usr/bin/env python3
"""Writes templates.json: what transformers makes of every template in snippets.py and dialects/.

Made with transformers 5 and Jinja2 3.1.6, whose versions go into the file.
Usage: make_templates.py [output]
"""
import json
import pathlib
import sys

import jinja2
import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template

from snippets import CONTEXT, SNIPPETS

HERE = pathlib.Path(__file__).parent

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "set_light",
            "description": "Switch a \"light\" <on> or off; it's quick",
            "parameters": {
                "type": "object",
                "properties": {
                    "room": {"type": "string", "description": "Zimmer, e.g. K\u00fcche"},
                    "level": {"type": "number", "minimum": 0, "default": 0.5},
                },
                "required": ["room"],
            },
        },
    }
]
CALL = {"id": "call12345", "type": "function",
        "function": {"name": "set_light", "arguments": {"room": "hall", "level": 1.0}}}
CHATS = {
    "one": [{"role": "user", "content": "Hello"}],
    "system": [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": " hi\n"}],
    "turns": [
        {"role": "user", "content": "q1"},
        {"role": "assistant", "content": "<think>\nwhy\n</think>\n\n a1 "},
        {"role": "user", "content": "q2 \U0001f389"},
        {"role": "assistant", "content": "a2"},
    ],
    "tools": [
        {"role": "user", "content": "light please"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "name": "set_light", "tool_call_id": "call12345", "content": "{\"ok\": true}"},
        {"role": "assistant", "content": "Done."},
    ],
    "twice": [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}],
}


def render(source, context):
    """The text and the byte ranges of {% generation %} blocks, or the error."""
    try:
        template = _compile_jinja_template(source)
        blocks, indices = [], []
        with template.environment.activate_tracker(blocks, indices):
            for block in template.generate(**context):
                blocks.append(block)
        text = "".join(blocks)
        ranges = [[len(text[:a].encode()), len(text[:b].encode())] for a, b in indices]
        return {"text": text, "generated": ranges}
    except jinja2.exceptions.TemplateError as e:
        kind = "raised" if type(e) is jinja2.exceptions.TemplateError else "error"
        return {"error": kind, "message": str(e.message or "") if kind == "raised" else ""}
    except Exception:
        return {"error": "error", "message": ""}


def main():
    cases = [{"template": s, "context": "snippets", **render(s, CONTEXT)} for s in SNIPPETS]
    dialects = {p.stem: p.read_text() for p in sorted((HERE / "dialects").glob("*.jinja"))}
    chats = []
    for name, source in dialects.items():
        for chat, messages in CHATS.items():
            for prompt in (False, True):
                for tools in (None, TOOLS):
                    context = {"messages": messages, "add_generation_prompt": prompt,
                               "tools": tools, "documents": None,
                               "bos_token": "<s>", "eos_token": "</s>"}
                    chats.append({"dialect": name, "chat": chat, "prompt": prompt,
                                  "tools": tools is not None, **render(source, context)})
    out = {"made_with": {"transformers": transformers.__version__, "jinja2": jinja2.__version__},
           "context": CONTEXT, "snippets": cases, "chats": CHATS, "tools": TOOLS, "dialects": chats}
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "templates.json"
    path.write_text(json.dumps(out, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
