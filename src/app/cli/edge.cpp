#include "app/cli/edge.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <new>

#include "app/cli/help.h"
#include "app/cli/parse.h"
#include "app/cli/verb.h"
#include "base/log.h"
#include "base/text_util.h"
#include "base/threads.h"
#include "kernels/gemm.h"

namespace moxie::cli {
namespace {

constexpr int kFailed = 1, kUsage = 2, kInterrupted = 130;

void set_up_log(const Globals& globals) {
  auto logger =
      std::make_shared<spdlog::logger>("moxie", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%l: %v");
  logger->set_level(globals.quiet     ? spdlog::level::warn
                    : globals.verbose ? spdlog::level::debug
                                      : spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

void print_error(const std::string& text) {
  const Terminal terminal = Terminal::of(STDERR_FILENO);
  std::fflush(stdout);
  fmt::print(stderr, "{} {}\n", terminal.paint("1;31", "error:"), printable(text));
}

const Named<Verb>& verb_named(const std::string& word) {
  if (const auto* verb = find_row(verbs(), word)) return *verb;
  if (word.starts_with('-')) {
    fail(ErrorCode::kInvalidArgument, "moxie", "flags stand after the verb: moxie VERB {}", word);
  }
  fail(ErrorCode::kInvalidArgument, "moxie", "there is no verb '{}'{}", word,
       suggestion(word, names_of(verbs())));
}

int run_verb(const std::vector<std::string>& words) {
  Context context{{}, Terminal::of(STDOUT_FILENO), Terminal::of(STDERR_FILENO)};
  const auto& verb = verb_named(words[0]);
  const auto call = verb->create();
  const std::vector<std::string> rest(words.begin() + 1, words.end());
  switch (parse(verb, *call, context.globals, rest)) {
    case Outcome::kHelp:
      fmt::print("{}", full_help(verb, context.out));
      return 0;
    case Outcome::kShortHelp:
      fmt::print(stderr, "{}", short_help(verb, context.err));
      return kUsage;
    case Outcome::kRun:
      break;
  }
  set_up_log(context.globals);
  if (context.globals.threads > 0) set_thread_count(static_cast<int>(context.globals.threads));
  kernels::set_batch_invariant(context.globals.deterministic);
  call->run(context);
  if (std::fflush(stdout) != 0) fail(ErrorCode::kIo, verb.name, "cannot write to standard output");
  return 0;
}

}  // namespace

int run(const std::vector<std::string>& words) {
  try {
    const Terminal terminal = Terminal::of(STDOUT_FILENO);
    if (words.empty() || words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
      fmt::print("{}",
                 words.size() < 2 ? overview(terminal) : full_help(verb_named(words[1]), terminal));
      return 0;
    }
    if (words[0] == "--version" || words[0] == "-V") {
      fmt::print("moxie {}\n", version());
      return 0;
    }
    return run_verb(words);
  } catch (const Error& error) {
    print_error(error.what());
    if (error.code() == ErrorCode::kInterrupted) return kInterrupted;
    return error.code() == ErrorCode::kInvalidArgument ? kUsage : kFailed;
  } catch (const std::filesystem::filesystem_error& error) {
    print_error(fmt::format("[file] '{}': {}", error.path1().string(), error.code().message()));
    return kFailed;
  } catch (const std::bad_alloc&) {
    print_error("[memory] this machine has no memory left for that; use a smaller model or batch");
    return kFailed;
  } catch (const std::exception& error) {
    print_error(fmt::format("[internal] {}; please report this", error.what()));
    return kFailed;
  }
}

}  // namespace moxie::cli
