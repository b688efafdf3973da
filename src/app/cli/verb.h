#pragma once
// A verb of the command line: one file <verb>.cpp that defines `<verb>_entry`, one line in
// cli.list. Help, parsing, completions, man pages and docs/commands.md all come from these rows;
// nothing else names a verb. A verb's options are one struct with one visitor (base/options.h).
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "app/cli/terminal.h"
#include "base/options.h"
#include "base/registry.h"

namespace moxie::cli {

// Flags that every verb takes.
struct Globals {
  bool json = false, deterministic = false, offline = false, quiet = false, verbose = false;
  int64_t threads = 0;

  void visit(auto& v) {
    v("json", json, "report as JSON on standard output");
    v("threads", threads, "threads to compute with; 0 takes every core", range(0, 4096));
    v("deterministic", deterministic,
      "the same bits for a sequence whatever else is in its batch; decoding in f32 is slower");
    v("offline", offline, "never use the network");
    v("quiet", quiet, "warnings and errors only");
    v("verbose", verbose, "more of what happens inside");
  }
};

struct Context {
  Globals globals;
  Terminal out;  // how standard output may be written: colour, width
  Terminal err;
};

// One call of a verb: its options, filled by the parser, and what it does with them.
class Invocation {
 public:
  virtual ~Invocation() = default;
  virtual std::vector<Option> options() = 0;
  virtual void run(Context& context) = 0;  // fails by throwing Error
};

enum class Group { kTrain, kUse, kFiles, kHouse };

struct Verb {
  Group group;
  std::string_view summary;
  // Options that may be given without their flag, in order: "model", "[adapter]" when it may be
  // missing, "[args...]" for the rest (a list option).
  std::string_view positionals;
  std::string_view examples;  // a line each
  bool reads_recipe;          // takes --config, or a .yaml file as its first word
  std::unique_ptr<Invocation> (*create)();
};

Table<Verb> verbs();

// The usual create(): `run` over a struct of options.
template <class Options, void (*run_verb)(Options&, Context&)>
std::unique_ptr<Invocation> invocation() {
  class Typed final : public Invocation {
   public:
    std::vector<Option> options() override { return list_options(options_); }
    void run(Context& context) override { run_verb(options_, context); }

   private:
    Options options_;
  };
  return std::make_unique<Typed>();
}

struct NoOptions {
  void visit(auto&) {}
};

struct Positional {
  std::string name;
  bool is_required = true;
  bool takes_rest = false;
};
std::vector<Positional> positionals_of(const Verb& verb);

std::string flag_of(std::string_view option_name);           // "batch_size" -> "--batch-size"
std::string environment_name(std::string_view option_name);  // "batch_size" -> "MOXIE_BATCH_SIZE"
std::string_view version();

}  // namespace moxie::cli
