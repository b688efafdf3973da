"""OpenVINO GenAI, which reads the GGUF file itself: the time to the first token of a prompt, or the time
per token after it, by its own counters. Every prompt is new, so that its prefix cache cannot answer."""
import json
import sys

import numpy
import openvino
import openvino_genai
import protocol

job = json.loads(sys.argv[1])
pipeline = openvino_genai.LLMPipeline(job["model"], "CPU", INFERENCE_NUM_THREADS=job["threads"])
random = numpy.random.default_rng(0)
config = openvino_genai.GenerationConfig()
config.do_sample = False
config.ignore_eos = True
config.max_new_tokens = 1 if job["what"] == "prefill" else job["tokens"] + 1


def work(_index):
    length = job["tokens"] if job["what"] == "prefill" else job["context"]
    ids = random.integers(1000, job["vocab"] - 1000, (1, length))
    result = pipeline.generate(openvino.Tensor(ids.astype(numpy.int64)), config)
    metrics = result.perf_metrics
    if job["what"] == "prefill":
        return {"tokens": length, "seconds": metrics.get_ttft().mean / 1000}
    made = metrics.get_num_generated_tokens() - 1
    return {"tokens": made, "seconds": made * metrics.get_tpot().mean / 1000}


protocol.serve({"peer": "OpenVINO GenAI " + openvino_genai.__version__.split("-")[0]}, work)
