"""llama.cpp through llama-cpp-python: reads a prompt, decodes greedily (one or several sequences at once),
or opens the model and makes a first token. The calls are llama.cpp's own; Python only picks the largest
logit. A start leaves out what Python itself takes to begin: it is llama.cpp's alone."""
import ctypes
import json
import sys
import time

import llama_cpp
import numpy
import protocol

job = json.loads(sys.argv[1])
batch_size = job.get("batch", 1)
silence = llama_cpp.llama_log_callback(lambda *_: None)  # kept: llama.cpp calls it later
llama_cpp.llama_log_set(silence, ctypes.c_void_p(0))
llama_cpp.llama_backend_init()
params = llama_cpp.llama_context_default_params()
params.n_ctx = (job["context"] + job["tokens"] + 64) * batch_size
params.n_batch = max(512, batch_size)
params.n_ubatch = 512
params.n_seq_max = batch_size
params.n_threads = params.n_threads_batch = job["threads"]
random = numpy.random.default_rng(0)
batch = llama_cpp.llama_batch_init(params.n_batch, 0, 1)


def open_model():
    model = llama_cpp.llama_load_model_from_file(job["model"].encode(), llama_cpp.llama_model_default_params())
    return model, llama_cpp.llama_init_from_model(model, params)


model, context = open_model()
vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
memory = llama_cpp.llama_get_memory(context)


def run(entries):
    """entries: (token, position, sequence, wants logits)"""
    batch.n_tokens = len(entries)
    for i, (token, position, sequence, wanted) in enumerate(entries):
        batch.token[i] = token
        batch.pos[i] = position
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = sequence
        batch.logits[i] = wanted
    if llama_cpp.llama_decode(context, batch) != 0:
        raise SystemExit("llama_decode failed")


def read(tokens, sequence):
    for begin in range(0, len(tokens), 512):
        part = tokens[begin:begin + 512]
        run([(int(t), begin + i, sequence, begin + i + 1 == len(tokens)) for i, t in enumerate(part)])


def argmax(row):
    logits = llama_cpp.llama_get_logits_ith(context, row)
    return int(numpy.ctypeslib.as_array(logits, (vocab,)).argmax())


def prefill(_index):
    tokens = random.integers(0, vocab, job["tokens"])
    llama_cpp.llama_memory_clear(memory, True)
    start = time.perf_counter()
    read(tokens, 0)
    argmax(-1)
    return {"tokens": len(tokens), "seconds": time.perf_counter() - start}


def decode(_index):
    llama_cpp.llama_memory_clear(memory, True)
    for sequence in range(batch_size):
        read(random.integers(0, vocab, job["context"]), sequence)
    tokens = [int(t) for t in random.integers(0, vocab, batch_size)]
    start = time.perf_counter()
    for step in range(job["tokens"]):
        run([(token, job["context"] + step, sequence, True) for sequence, token in enumerate(tokens)])
        tokens = [argmax(i) for i in range(batch_size)]
    return {"tokens": job["tokens"] * batch_size, "seconds": time.perf_counter() - start}


def start(_index):
    global model, context, memory
    llama_cpp.llama_free(context)
    llama_cpp.llama_free_model(model)
    start = time.perf_counter()
    model, context = open_model()
    memory = llama_cpp.llama_get_memory(context)
    read(random.integers(0, vocab, job["tokens"]), 0)
    argmax(-1)
    return {"tokens": 1, "seconds": time.perf_counter() - start}


protocol.serve({"peer": "llama.cpp (llama-cpp-python " + llama_cpp.__version__ + ")"},
               {"prefill": prefill, "decode": decode, "start": start}[job["what"]])
