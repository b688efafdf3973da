#!/usr/bin/env python3
"""Writes train.jsonl and heldout.jsonl: spoken household commands and the JSON that answers them.

Every sentence template below was written by hand for this project. The held-out file uses
templates that training never shows, and (device, room, set) combinations that training never
shows; a dozen (device, room) pairs are kept out of training altogether. Both are asserted here.

    make.py            writes both files beside this script
    make.py --check    fails if the files differ from what this script would write
    make.py --stats    prints how many examples each group and each value got

Needs Python 3.8 or later and nothing else. The same seed gives the same bytes everywhere.
"""
import hashlib
import json
import pathlib
import random
import sys

HERE = pathlib.Path(__file__).resolve().parent
SYSTEM = "Reply with JSON."
TRAIN_EXAMPLES = 640
HELDOUT_EXAMPLES = 160

# What is said for each room, and the one word that the answer uses.
ROOMS = {
    "kitchen": ["kitchen"],
    "bedroom": ["bedroom"],
    "bathroom": ["bathroom"],
    "living": ["living room", "lounge"],
    "office": ["office"],
    "hall": ["hall", "hallway"],
    "garage": ["garage"],
    "attic": ["attic", "loft"],
    "nursery": ["nursery"],
    "study": ["study"],
}

DEVICES = {
    "light": ["light", "lights"],
    "lamp": ["lamp"],
    "fan": ["fan"],
    "heat": ["heating", "radiator"],
    "tv": ["TV", "television"],
    "music": ["music", "speaker"],
    "blind": ["blinds", "shutters"],
    "door": ["door"],
    "window": ["window"],
    "vacuum": ["vacuum"],
}

# Device and room pairs that training never sees together.
UNSEEN_PAIRS = {
    ("light", "nursery"), ("lamp", "office"), ("fan", "attic"), ("heat", "garage"),
    ("tv", "study"), ("music", "hall"), ("blind", "bathroom"), ("door", "bedroom"),
    ("window", "kitchen"), ("vacuum", "living"), ("light", "garage"), ("music", "nursery"),
}

UNITS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
         "fifteen sixteen seventeen eighteen nineteen").split()
TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()

BRIGHTER = {"up": ["brighter"], "down": ["dimmer", "darker"]}
WARMER = {"up": ["warmer", "hotter"], "down": ["cooler", "colder"]}
LOUDER = {"up": ["louder"], "down": ["quieter", "softer"]}
FASTER = {"up": ["faster", "stronger"], "down": ["slower", "gentler"]}
COMPARED = {"light": BRIGHTER, "lamp": BRIGHTER, "heat": WARMER, "tv": LOUDER, "music": LOUDER,
            "fan": FASTER}

ON_OFF = ["on", "off"]
UP_DOWN = ["up", "down"]
OPEN_CLOSE = ["open", "close"]
LOCK_UNLOCK = ["lock", "unlock"]
COLOURS = ["red", "blue", "green", "pink", "white", "yellow"]
PLAY_PAUSE = ["play", "pause"]
PERCENT = list(range(10, 101, 5))
DEGREES = list(range(15, 27))
SPEEDS = list(range(1, 7))

# A group is: share of the examples, devices, values, training templates, held-out templates.
# {d} device, {r} room, {v} value as it is said, {c} the comparative that fits the device.
# A template may be (values, text): it then speaks only of those values. "all" groups name no room.
GROUPS = {
    "switch": (16, ["light", "lamp", "fan", "heat", "tv", "music"], ON_OFF, [
        "turn {v} the {r} {d}",
        "turn the {r} {d} {v}",
        "turn the {d} {v} in the {r}",
        "switch {v} the {d} in the {r}",
        "switch the {r} {d} {v} please",
        "please turn {v} the {d} in the {r}",
        "can you turn the {r} {d} {v}?",
        "could you switch {v} the {r} {d}",
        "{r} {d} {v}",
        "{d} {v} in the {r}, please",
        "I want the {r} {d} {v}",
        "I'd like the {d} in the {r} {v}",
        "in the {r}, turn the {d} {v}",
        "put the {r} {d} {v}",
        "the {d} in the {r} should be {v}",
        "make sure the {r} {d} is {v}",
        "would you flip the {d} {v} in the {r}",
        "go ahead and turn the {r} {d} {v}",
        (["on"], "start the {d} in the {r}"),
        (["on"], "power up the {r} {d}"),
        (["on"], "get the {r} {d} running"),
        (["off"], "shut off the {d} in the {r}"),
        (["off"], "kill the {r} {d}"),
        (["off"], "stop the {d} in the {r}"),
        (["off"], "nobody needs the {r} {d} any more"),
        (["on"], "we need the {d} in the {r}"),
    ], [
        "would you mind turning {v} the {d} in the {r}",
        "hey, {v} with the {r} {d}",
        "I need the {d} in the {r} switched {v}",
        "let's have the {r} {d} {v}",
        "can the {d} in the {r} be turned {v}?",
        "time to turn {v} the {r} {d}",
        "the {d} in the {r} needs to be {v}",
        "get the {r} {d} turned {v}",
        (["on"], "fire up the {r} {d}"),
        (["off"], "power down the {d} in the {r}"),
        (["off"], "shut the {r} {d} off"),
    ]),
    "bright": (10, ["light", "lamp"], PERCENT, [
        "set the {r} {d} to {v} percent",
        "dim the {d} in the {r} to {v} percent",
        "dim the {r} {d} to {v}",
        "{r} {d} at {v} percent",
        "put the {d} in the {r} at {v} percent please",
        "bring the {r} {d} to {v} percent",
        "can you make the {r} {d} {v} percent bright",
        "brightness {v} on the {d} in the {r}",
        "I want {v} percent on the {r} {d}",
        "in the {r}, set the {d} to {v}",
        "change the {d} in the {r} to {v} percent",
        "could you put the {r} {d} on {v}",
    ], [
        "take the {r} {d} to {v} percent",
        "let the {d} in the {r} shine at {v} percent",
        "would you adjust the {r} {d} to {v}",
        "{v} percent for the {d} in the {r}",
        "the {r} {d} should be at {v} percent",
    ]),
    "shade": (7, ["blind"], PERCENT, [
        "set the {r} {d} to {v} percent",
        "put the {d} in the {r} at {v} percent",
        "{r} {d} to {v}",
        "move the {d} in the {r} to {v} percent",
        "bring the {r} {d} to {v} percent please",
        "I want the {r} {d} at {v}",
        "could you set the {d} in the {r} to {v}",
        "in the {r}, {d} at {v} percent",
    ], [
        "slide the {r} {d} to {v} percent",
        "have the {d} in the {r} at {v} percent",
        "would you take the {r} {d} to {v}",
        "{v} percent on the {d} in the {r}",
    ]),
    "degrees": (9, ["heat"], DEGREES, [
        "set the {r} to {v} degrees",
        "set the {d} in the {r} to {v}",
        "heat the {r} to {v} degrees",
        "make it {v} degrees in the {r}",
        "{r} {d} at {v} degrees",
        "put the {r} {d} on {v}",
        "I want {v} degrees in the {r}",
        "bring the {r} up to {v} degrees",
        "keep the {r} at {v} degrees please",
        "can you warm the {r} to {v}",
        "{v} degrees in the {r}, please",
        "the {r} should be {v} degrees",
    ], [
        "get the {r} to {v} degrees",
        "could we have {v} degrees in the {r}",
        "hold the {r} {d} at {v} degrees",
        "let's make the {r} {v} degrees",
        "change the {d} in the {r} to {v} degrees",
    ]),
    "speed": (6, ["fan"], SPEEDS, [
        "set the {r} {d} to {v}",
        "{d} on speed {v} in the {r}",
        "put the {d} in the {r} on level {v}",
        "run the {r} {d} at speed {v}",
        "{r} {d} to level {v} please",
        "I want the {r} {d} on {v}",
        "switch the {d} in the {r} to speed {v}",
        "could you turn the {r} {d} to {v}",
    ], [
        "take the {r} {d} to speed {v}",
        "let the {d} in the {r} run at level {v}",
        "speed {v} for the {r} {d}",
        "would you set the {d} in the {r} to level {v}",
    ]),
    "volume": (9, ["music", "tv"], PERCENT, [
        "set the {r} {d} to {v}",
        "volume {v} on the {d} in the {r}",
        "set the volume of the {r} {d} to {v}",
        "put the {d} in the {r} at {v} percent",
        "{r} {d} at volume {v}",
        "turn the {r} {d} to {v} percent",
        "I want the {d} in the {r} at {v}",
        "can you play the {r} {d} at {v} percent",
        "{d} volume to {v} in the {r} please",
        "make the {r} {d} volume {v}",
    ], [
        "change the {r} {d} volume to {v}",
        "volume to {v} for the {d} in the {r}",
        "take the {d} in the {r} to {v} percent",
        "would you put the {r} {d} at volume {v}",
    ]),
    "nudge": (15, ["light", "lamp", "heat", "tv", "music", "fan"], UP_DOWN, [
        "turn {v} the {d} in the {r}",
        "turn the {r} {d} {v}",
        "turn the {r} {d} {v} a bit",
        "{v} a little with the {r} {d}",
        "make the {r} {d} {c}",
        "make the {d} in the {r} a bit {c}",
        "I want the {r} {d} {c}",
        "{c} on the {d} in the {r}, please",
        "can you make the {r} {d} {c}?",
        "could you turn {v} the {r} {d}",
        "the {r} {d} should be {c}",
        "please turn the {d} {v} in the {r}",
        "a little {c} with the {r} {d}",
        "set the {d} in the {r} a touch {c}",
        "bring the {r} {d} {v} a notch",
        "I'd like the {d} in the {r} {c}",
    ], [
        "could the {r} {d} be {c}",
        "get the {d} in the {r} a bit {c}",
        "would you bring {v} the {d} in the {r}",
        "let's have the {r} {d} somewhat {c}",
        "{c} please, the {r} {d}",
        "I need the {d} turned {v} in the {r}",
    ]),
    "move": (12, ["blind", "door", "window"], OPEN_CLOSE, [
        "{v} the {r} {d}",
        "{v} the {d} in the {r}",
        "please {v} the {r} {d}",
        "can you {v} the {d} in the {r}?",
        "could you {v} the {r} {d} please",
        "{r} {d} {v}",
        "I want you to {v} the {d} in the {r}",
        "go and {v} the {r} {d}",
        "in the {r}, {v} the {d}",
        "I need to {v} the {r} {d}",
        (["close"], "shut the {r} {d}"),
        (["close"], "the {d} in the {r} should be closed"),
        (["close"], "I want the {r} {d} shut"),
        (["open"], "get the {r} {d} open"),
        (["open"], "leave the {d} in the {r} open"),
        (["open"], "I want the {r} {d} opened"),
    ], [
        "would you mind if we {v} the {d} in the {r}",
        "hey, {v} the {d} of the {r}",
        "time to {v} the {r} {d}",
        "let's {v} the {d} in the {r}",
        (["close"], "shut the {d} in the {r} please"),
        (["close"], "keep the {r} {d} closed"),
        (["open"], "have the {d} in the {r} opened"),
    ]),
    "secure": (6, ["door", "window"], LOCK_UNLOCK, [
        "{v} the {r} {d}",
        "{v} the {d} in the {r} please",
        "please {v} the {r} {d}",
        "can you {v} the {d} in the {r}?",
        "I want to {v} the {r} {d}",
        "go and {v} the {d} of the {r}",
        "could you {v} the {r} {d}",
        "{r} {d}: {v} it",
        (["lock"], "the {r} {d} should be locked"),
        (["unlock"], "I want the {r} {d} unlocked"),
    ], [
        "would you {v} the {d} in the {r}",
        "let's {v} the {r} {d}",
        "time to {v} the {d} in the {r}",
        (["lock"], "keep the {r} {d} locked"),
    ]),
    "colour": (10, ["light", "lamp"], COLOURS, [
        "make the {r} {d} {v}",
        "turn the {d} in the {r} {v}",
        "set the {r} {d} to {v}",
        "{v} {d} in the {r} please",
        "change the {r} {d} to {v}",
        "I want the {d} in the {r} {v}",
        "can you make the {r} {d} {v}?",
        "{r} {d} in {v}",
        "give me a {v} {d} in the {r}",
        "colour the {r} {d} {v}",
    ], [
        "switch the {r} {d} to {v}",
        "let's have the {d} in the {r} {v}",
        "could the {r} {d} be {v}",
        "paint the {r} {v} with the {d}",
        "I'd like {v} for the {d} in the {r}",
    ]),
    "media": (8, ["music", "tv"], PLAY_PAUSE, [
        "{v} the {r} {d}",
        "{v} the {d} in the {r}",
        "please {v} the {d} in the {r}",
        "can you {v} the {r} {d}?",
        "{r} {d}, {v}",
        "hit {v} on the {r} {d}",
        "I want to {v} the {d} in the {r}",
        "press {v} on the {d} in the {r}",
        (["pause"], "hold the {r} {d} for a moment"),
        (["play"], "let the {d} in the {r} continue"),
    ], [
        "would you {v} the {d} in the {r}",
        "let's {v} the {r} {d}",
        "{v} is what I want on the {r} {d}",
        "tap {v} on the {r} {d}",
        (["pause"], "put the {r} {d} on pause"),
    ]),
    "clean": (6, ["vacuum"], ON_OFF, [
        (["on"], "vacuum the {r}"),
        (["on"], "start vacuuming the {r}"),
        (["on"], "send the vacuum to the {r}"),
        (["on"], "please vacuum the {r}"),
        (["on"], "can you vacuum the {r}?"),
        (["on"], "clean the {r} floor"),
        (["off"], "stop the vacuum in the {r}"),
        (["off"], "stop vacuuming the {r}"),
        (["off"], "no more vacuuming in the {r}"),
        "turn {v} the vacuum in the {r}",
        "{r} vacuum {v}",
        "switch the {r} vacuum {v}",
    ], [
        (["on"], "the {r} needs a vacuum"),
        (["on"], "let the vacuum loose in the {r}"),
        (["off"], "quit vacuuming the {r}"),
        "let the {r} vacuum go {v}",
    ]),
    "all": (6, ["light", "lamp", "fan", "heat", "tv", "music"], ON_OFF, [
        "turn {v} every {d} in the house",
        "turn the {d} {v} everywhere",
        "switch {v} the {d} in all rooms",
        "all rooms, {d} {v}",
        "{d} {v} in the whole house",
        "I want the {d} {v} in every room",
        "please turn the {d} {v} all over the house",
        "in every room, turn the {d} {v}",
        "everywhere, {d} {v}",
        "put the {d} {v} in all the rooms",
        (["off"], "kill the {d} everywhere"),
    ], [
        "turn {v} the {d} in every room",
        "{d} {v} everywhere please",
        "switch the {d} {v} throughout the house",
        "I need the {d} {v} all over the place",
        "let's have every {d} {v}",
    ]),
}


def in_words(number):
    if number == 100:
        return "a hundred"
    if number < 20:
        return UNITS[number]
    tens, units = divmod(number, 10)
    return TENS[tens] + ("-" + UNITS[units] if units else "")


def kept_for_heldout(device, room, value):
    """One combination in four, chosen by a hash so that it does not depend on any order."""
    if (device, room) in UNSEEN_PAIRS:
        return True
    digest = hashlib.sha256(f"{device}/{room}/{value}".encode()).digest()
    return digest[0] % 4 == 0


def split_template(template, values):
    return template if isinstance(template, tuple) else (values, template)


def draw(rng, group, heldout):
    """One example of a group as (sentence, answer, template)."""
    _, devices, values, train_templates, heldout_templates = GROUPS[group]
    allowed, template = split_template(
        rng.choice(heldout_templates if heldout else train_templates), values)
    while True:
        device = rng.choice(devices)
        room = "all" if group == "all" else rng.choice(list(ROOMS))
        value = rng.choice(allowed)
        if kept_for_heldout(device, room, value) == heldout:
            break
    said = str(value)
    if isinstance(value, int) and rng.random() < 0.5:
        said = in_words(value)
    comparative = rng.choice(COMPARED[device][value]) if "{c}" in template else ""
    room_said = "" if room == "all" else rng.choice(ROOMS[room])
    sentence = template.format(d=rng.choice(DEVICES[device]), r=room_said, v=said, c=comparative)
    # People who dictate get capitals and full stops from some recognisers and not from others.
    if rng.random() < 0.5:
        sentence = sentence[0].upper() + sentence[1:]
    answer = {"device": device, "room": room, "set": value}
    return sentence, answer, template


def examples(seed, count, heldout):
    """`count` examples with no sentence twice, each group by its share, in a shuffled order."""
    rng = random.Random(seed)
    shares = sum(group[0] for group in GROUPS.values())
    order = [name for name, group in GROUPS.items() for _ in range(-(-count * group[0] // shares))]
    rng.shuffle(order)
    seen, out = set(), []
    for name in order[:count]:
        for _ in range(10000):
            sentence, answer, template = draw(rng, name, heldout)
            if sentence.lower() not in seen:
                break
        else:
            raise SystemExit(f"group {name} has too few different sentences for its share")
        seen.add(sentence.lower())
        out.append((sentence, answer, template, name))
    return out


def plain(template):
    """A template less what does not make it another one: case, courtesy, marks, a named device."""
    words = template.lower().replace("vacuum", "{d}").replace("please", "")
    return " ".join("".join(c for c in words if c.isalnum() or c in "{} '").split())


def assert_disjoint(train, heldout):
    """No template, no sentence, no combination of the held-out file is in the training file."""
    def triples(part):
        return {(a["device"], a["room"], a["set"]) for _, a, _, _ in part}
    assert not {plain(t) for _, _, t, _ in train} & {plain(t) for _, _, t, _ in heldout}
    assert not {s.lower() for s, _, _, _ in train} & {s.lower() for s, _, _, _ in heldout}
    assert not triples(train) & triples(heldout)
    unseen = {(a["device"], a["room"]) for _, a, _, _ in train} & UNSEEN_PAIRS
    assert not unseen, unseen


def rendered(part):
    lines = []
    for sentence, answer, _, _ in part:
        record = {"messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": sentence},
            {"role": "assistant", "content": json.dumps(answer, separators=(",", ":"))},
        ]}
        lines.append(json.dumps(record, ensure_ascii=False))
    return "\n".join(lines) + "\n"


def print_stats(train, heldout):
    for name in GROUPS:
        counts = [sum(n == name for *_, n in part) for part in (train, heldout)]
        print(f"{name:8} train {counts[0]:3} heldout {counts[1]:3}")
    for key in ("device", "room", "set"):
        counts = {}
        for _, answer, _, _ in train:
            counts[answer[key]] = counts.get(answer[key], 0) + 1
        print(key, dict(sorted(counts.items(), key=str)))
    pairs = {(a["device"], a["room"]) for _, a, _, _ in train}
    fresh = sum((a["device"], a["room"]) not in pairs for _, a, _, _ in heldout)
    print(f"held-out examples whose device and room never meet in training: {fresh}")


def main():
    train = examples(20, TRAIN_EXAMPLES, heldout=False)
    heldout = examples(21, HELDOUT_EXAMPLES, heldout=True)
    assert_disjoint(train, heldout)
    files = {"train.jsonl": rendered(train), "heldout.jsonl": rendered(heldout)}
    if "--stats" in sys.argv[1:]:
        print_stats(train, heldout)
    elif "--check" in sys.argv[1:]:
        for name, text in files.items():
            if (HERE / name).read_text(encoding="utf-8") != text:
                raise SystemExit(f"{name} is not what make.py writes: run make.py and commit both")
    else:
        for name, text in files.items():
            (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
