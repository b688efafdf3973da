#pragma once
// The recipe `tune`: load, set up, train, save, report. Folder of a run: adapter_config.json and
// adapter_model.safetensors (or a whole checkpoint with --method full), metrics.jsonl, eval.jsonl,
// config.yaml, checkpoints/, report.html.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "adapt/method.h"
#include "base/options.h"
#include "optim/optimizer.h"
#include "train/callback.h"
#include "train/train_options.h"

namespace moxie::recipes {

struct TuneOptions {
  TuneOptions();
  std::string model, out, eval, method = "lora", init_adapter, format, dtype = "auto",
                                loss_on = "auto", ram;
  std::vector<std::string> data, targets = {"all-linear"}, exclude, layers;
  double eval_split = 0;
  int64_t max_length = 1024, samples = 3;
  bool no_shuffle = false, resume = false, dry_run = false, recompute = false, skip_bad = false;
  train::TrainOptions train;
  std::map<std::string, std::unique_ptr<adapt::Method>> methods;        // one of each, by name
  std::map<std::string, std::unique_ptr<optim::Optimizer>> optimizers;  // likewise

  void visit(auto& v) {
    v("model", model, "a GGUF file, a Hugging Face folder, or a pulled name");
    v("data", data, "training files; file@2 weighs one");
    v("eval", eval, "held-out file");
    v("eval_split", eval_split,
      "without --eval: hold out this share (below 1) or this many examples", at_least(0));
    v("out", out, "folder of the run");
    v("method", method, "what trains", one_of(method_names()));
    v("targets", targets,
      "modules that get an adapter: all-linear, names such as q_proj, or a regex");
    v("exclude", exclude, "modules that do not");
    v("layers", layers, "layers that do, such as 0-7,12; all when empty");
    v("init_adapter", init_adapter, "start from this PEFT adapter");
    v("format", format, "shape of the data; detected when empty");
    v("skip_bad", skip_bad, "leave out bad rows and count them");
    v("max_length", max_length, "tokens kept of an example; 0 keeps all", at_least(0));
    v("loss_on", loss_on, "what is learnt", one_of({"auto", "completion", "assistant", "all"}));
    v("no_shuffle", no_shuffle, "keep the order of the files");
    v("dtype", dtype,
      "what products compute in; auto is int8 on quantised weights and the CPU's fastest of bf16 "
      "and int16 in all other products; int8 rounds other weights too where AVX-512 VNNI "
      "multiplies tiles of them, and where there is AMX only gradients that pass through quantised "
      "ones; f32 is exact",
      one_of({"auto", "f32", "bf16", "int8", "int16"}));
    v("recompute", recompute, "keep only each block's input: less memory, a third more time");
    v("ram", ram,
      "most memory to hold: 8G, 600M, 50% or auto; picks micro_tokens and recompute to keep it");
    v("samples", samples, "answers before and after in the report", range(0, 20));
    v("resume", resume, "go on from the newest valid checkpoint");
    v("dry_run", dry_run, "show the plan and two samples, train nothing");
    train.visit(v);
    for (auto& [name, row] : methods) add(v, row->options());
    for (auto& [name, row] : optimizers) add(v, row->options());
  }

 private:
  static std::vector<std::string> method_names();
  // A method's options join the flat list; of two with one name the first stands for both.
  void add(auto& v, const std::vector<Option>& options) {
    for (const Option& option : options) {
      std::visit([&](auto* value) { v(option.name, *value, option.help, option.limits); },
                 option.value);
    }
  }
};

struct TuneResult {
  train::TrainResult training;
  Json summary;  // what --json prints
};

// Runs it; `callback` may be null. With dry_run, summary holds the plan and nothing is written.
TuneResult tune(TuneOptions& options, train::Callback* callback);

// What a dry run prints for people: the samples, coloured, and the plan.
std::string dry_run_text(const Json& summary, bool in_colour);

}  // namespace moxie::recipes
