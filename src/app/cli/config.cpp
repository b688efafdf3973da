// Recipes: the built-in ones, and checking one's own.
#include <fmt/format.h>

#include <filesystem>

#include "app/cli/builtin_recipes.h"
#include "app/cli/verb.h"
#include "base/files.h"
#include "base/text_util.h"
#include "recipes/config.h"

namespace moxie::cli {
namespace {

struct ConfigOptions {
  std::string action;
  std::string name, to;

  void visit(auto& v) {
    v("action", action, "what to do", one_of({"ls", "cp", "validate"}));
    v("name", name, "a built-in recipe (cp), or a recipe file (validate)");
    v("to", to, "where cp puts the copy; NAME.yaml here by default");
  }
};

void list(const Context& context) {
  if (context.globals.json) {
    Json rows = Json::array();
    for (const auto& recipe : builtin_recipes()) {
      rows.push_back({{"name", recipe.name}, {"summary", recipe.summary()}});
    }
    fmt::print("{}\n", rows.dump(2));
    return;
  }
  TextTable table{{"recipe", "what it does"}, {}, {}};
  for (const auto& recipe : builtin_recipes()) {
    table.rows.push_back({std::string(recipe.name), std::string(recipe.summary())});
  }
  fmt::print("{}", table.render(context.out));
}

std::string require_recipe(const std::string& name) {
  if (name.empty()) {
    fail(ErrorCode::kInvalidArgument, "config", "which recipe? choose one of {}",
         join(recipe_names(), ", "));
  }
  if (auto text = read_recipe(name)) return *text;
  fail(ErrorCode::kNotFound, "config", "there is no recipe '{}'{}", name,
       suggestion(name, recipe_names()));
}

void copy(const ConfigOptions& options) {
  const std::string text = require_recipe(options.name);
  const std::filesystem::path target = options.to.empty() ? options.name + ".yaml" : options.to;
  if (std::filesystem::exists(target)) {
    fail(ErrorCode::kInvalidArgument, "config",
         "'{}' is there already; give another place with --to", target.string());
  }
  write_file_atomically(target, text);
  fmt::print("{}\n", target.string());
}

void validate(const ConfigOptions& options, const Context& context) {
  const std::string text = require_recipe(options.name);
  const std::string name = recipes::verb_of_config(text, options.name);
  const auto& verb = require_row(verbs(), "verb", name);
  if (!verb->reads_recipe) {
    fail(ErrorCode::kInvalidArgument, "config", "'{}' is for the verb {}, which reads no recipe",
         options.name, name);
  }
  const auto call = verb->create();
  const auto known = call->options();
  recipes::apply_config(text, options.name, name, known);
  if (context.globals.json) {
    fmt::print("{}\n",
               Json{{"valid", true}, {"verb", name}, {"options", options_to_json(known)}}.dump(2));
  } else {
    fmt::print("{} is a valid recipe; run it with: moxie {} --config {}\n", options.name, name,
               options.name);
  }
}

void run(ConfigOptions& options, Context& context) {
  if (options.action == "ls") {
    list(context);
  } else if (options.action == "cp") {
    copy(options);
  } else {
    validate(options, context);
  }
}

}  // namespace

extern const Verb config_entry;
const Verb config_entry = {.group = Group::kHouse,
                           .summary = "list, copy and check recipes",
                           .positionals = "action [name] [to]",
                           .examples =
                               "moxie config ls\n"
                               "moxie config cp lora my-recipe.yaml\n"
                               "moxie config validate my-recipe.yaml",
                           .reads_recipe = false,
                           .create = invocation<ConfigOptions, run>};

}  // namespace moxie::cli
