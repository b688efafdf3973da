#include "app/cli/builtin_recipes.h"

#include <filesystem>

#include "base/files.h"

namespace moxie::cli {

std::string_view BuiltinRecipe::summary() const {
  if (!text.starts_with("# ")) return "";
  return text.substr(2, text.find('\n') - 2);
}

std::vector<std::string> recipe_names() {
  std::vector<std::string> names;
  for (const auto& recipe : builtin_recipes()) names.emplace_back(recipe.name);
  return names;
}

std::optional<std::string> read_recipe(const std::string& name) {
  std::error_code ignored;
  if (std::filesystem::exists(name, ignored)) return read_file(name, size_t{1} << 20);
  for (const auto& recipe : builtin_recipes()) {
    if (recipe.name == name) return std::string(recipe.text);
  }
  return std::nullopt;
}

}  // namespace moxie::cli
