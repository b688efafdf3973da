// Fetch a model from the Hugging Face Hub or a mirror of it.
#include <fmt/format.h>

#include "app/cli/progress.h"
#include "app/cli/verb.h"
#include "base/text_util.h"
#include "io/hub.h"
#include "train/stop_signal.h"

namespace moxie::cli {
namespace {

struct PullOptions {
  std::string name, endpoint;
  std::vector<std::string> files;

  void visit(auto& v) {
    v("name", name,
      "owner/name, with :QUANT for one GGUF file and @REVISION for another than main");
    v("files", files, "names or patterns of the files to fetch; what Moxie reads by default");
    v("endpoint", endpoint, "address of the Hub; HF_ENDPOINT, else https://huggingface.co");
  }
};

void run(PullOptions& options, Context& context) {
  const train::StopSignal stop;
  CountProgress progress(context, options.name, true);
  io::PullOptions how;
  how.files = options.files;
  how.endpoint = options.endpoint;
  how.is_offline = context.globals.offline;
  how.progress = [&](const io::PullProgress& now) {
    progress.update(now.total_done, now.total_size);
    return !train::StopSignal::requested();
  };
  const io::PulledModel model = io::pull(options.name, how);
  progress.clear();
  if (!context.globals.json) {
    fmt::print("{}\n", model.path.string());
    return;
  }
  Json files = Json::object();
  for (const auto& [file, facts] : model.files) {
    files[file] = {{"size", facts.size}, {"sha256", facts.sha256}};
  }
  fmt::print("{}\n", Json{{"name", model.name},
                          {"path", model.path.string()},
                          {"commit", model.commit},
                          {"bytes", model.size()},
                          {"files", files}}
                         .dump(2));
}

}  // namespace

extern const Verb pull_entry;
const Verb pull_entry = {.group = Group::kFiles,
                         .summary = "fetch a model from the Hugging Face Hub or a mirror",
                         .positionals = "name",
                         .examples =
                             "moxie pull HuggingFaceTB/SmolLM2-135M-Instruct\n"
                             "moxie pull owner/model-GGUF:Q4_K_M\n"
                             "HF_ENDPOINT=https://mirror.example moxie pull owner/model",
                         .reads_recipe = false,
                         .create = invocation<PullOptions, run>};

}  // namespace moxie::cli
