"""Writes the tables of docs/performance.md from the kept results (results/*.json), between its two marks."""
import json
import pathlib
import statistics

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs/performance.md"
BEGIN, END = "<!-- tables: begin (bench/peers/run.sh --tables) -->", "<!-- tables: end -->"
SECTIONS = (("train", "Training, SmolLM2-135M, r = 16, all linear layers, AdamW"),
            ("prefill", "Prompts"), ("decode", "Decoding"), ("start", "Start"),
            ("self", "Moxie against itself"))


def speed(values, unit):
    middle = statistics.median(values)
    return {"starts/s": f"{1000 / middle:,.0f} ms", "GFLOP/s": f"{middle:,.0f} GFLOP/s"}.get(unit, f"{middle:,.0f}")


def share(record, limits):
    facts = record["our_facts"]
    if "gigabytes_per_second" in facts and not record["title"].startswith("decoding 16"):
        return f"{100 * facts['gigabytes_per_second'] / limits['read_gigabytes_per_second']:.0f}% of reading"
    if "gflops" in facts:
        kinds = ["f32"] if record["ours"] == "f32" else ["bf16", "int16", "f32"]
        kind = max(kinds, key=lambda kind: limits.get(f"{kind}_product_gflops", 0))
        return f"{100 * facts['gflops'] / limits[kind + '_product_gflops']:.0f}% of {kind} products"
    return ""


def row(record, highest):
    limits = record.get("limits", highest)  # of the same run
    ratios = record["ratios"]
    met = "" if record["target"] is None else f"{record['target']:g}"
    sides = [record[side].get("peak_rss_mib") for side in ("our_facts", "their_facts")]
    memory = "/".join(f"{mib:,.0f}" for mib in sides if mib)
    cells = [f"{record['title']} vs. {record['theirs']}" if "against" not in record["title"] else record["title"],
             f"**{record['ratio']:.2f}** ({min(ratios):.2f} to {max(ratios):.2f})", met,
             speed(record["speeds"]["ours"], record["unit"]), speed(record["speeds"]["theirs"], record["unit"]),
             share(record, limits), memory, record["commit"]]
    return "| " + " | ".join(cells) + " |"


def describe(kept):
    limits = kept["limits"]
    lines = [f"## {kept['cpu']}, {kept['isa']}, {kept['cores']} cores", "",
             "| limit of this machine | measured |", "|---|---|",
             f"| f32 multiply-adds, operands in L1 | {limits['fma_gflops']:.0f} GFLOP/s |",
             f"| large f32 product | {limits['f32_product_gflops']:.0f} GFLOP/s |"]
    if "bf16_product_gflops" in limits:
        lines.append(f"| large bf16 product, packed | {limits['bf16_product_gflops']:.0f} GFLOP/s |")
    if "int16_product_gflops" in limits:
        lines.append(f"| large product in 16-bit integers | {limits['int16_product_gflops']:.0f} GFLOP/s |")
    lines += [f"| reading memory, all threads | {limits['read_gigabytes_per_second']:.1f} GB/s |", ""]
    peers = sorted({record["their_facts"]["peer"] for record in kept["jobs"].values()} - {"Moxie"})
    lines += ["Peers: " + "; ".join(peers) + ".", ""]
    for prefix, heading in SECTIONS:
        records = [r for name, r in kept["jobs"].items() if name.startswith(prefix + "-")]
        if records:
            lines += [f"### {heading}", "",
                      "| | ratio (spread) | aim | Moxie | other | Moxie's share of the limit | peak MiB, both "
                      "| commit |", "|---|---|---|---|---|---|---|---|"]
            lines += [row(record, limits) for record in records] + [""]
    return lines


def write():
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    lines = []
    for path in sorted((HERE / "results").glob("*.json")):
        lines += describe(json.loads(path.read_text()))
    lines = lines or ["No run of all pairs on a quiet machine has been kept yet.", ""]
    PAGE.write_text(before + BEGIN + "\n" + "\n".join(lines) + END + after, encoding="utf-8")
    return 0
