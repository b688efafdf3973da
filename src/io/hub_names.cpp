#include "io/hub_names.h"

#include <fnmatch.h>

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "base/text_util.h"
#include "io/hub.h"

namespace moxie::io {
namespace {

constexpr size_t kMaxPart = 96;       // the Hub's own limit for owners and names
constexpr size_t kMaxFilePart = 200;  // leaves room for what a temporary name adds

bool is_word(std::string_view text, std::string_view also) {
  return !text.empty() && text.size() <= kMaxPart && text.find("..") == std::string_view::npos &&
         text.front() != '.' && text.front() != '-' &&
         std::all_of(text.begin(), text.end(), [&](unsigned char c) {
           return (c < 0x80 && std::isalnum(c) != 0) ||
                  also.find(static_cast<char>(c)) != also.npos;
         });
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

bool matches(const std::string& file, const char* pattern) {
  return ::fnmatch(pattern, file.c_str(), FNM_PATHNAME) == 0;
}

// model-00001-of-00003.gguf
bool is_split_gguf(const std::string& file) {
  return matches(file, "*-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9].gguf");
}

// What a Hugging Face directory needs: weights, configuration, tokenizer, templates.
bool is_wanted(const std::string& file) {
  static constexpr const char* kWanted[] = {
      "*.safetensors", "*.json",    "*.jinja",  "*.model",
      "merges.txt",    "vocab.txt", "LICENSE*", "additional_chat_templates/*.jinja"};
  return std::any_of(std::begin(kWanted), std::end(kWanted),
                     [&](const char* pattern) { return matches(file, pattern); });
}

std::vector<std::string> by_patterns(const std::vector<std::string>& all, const ModelName& name,
                                     const std::vector<std::string>& patterns) {
  std::vector<std::string> chosen;
  for (const auto& pattern : patterns) {
    const size_t before = chosen.size();
    for (const auto& file : all) {
      const bool is_new = std::find(chosen.begin(), chosen.end(), file) == chosen.end();
      if (is_new && ::fnmatch(pattern.c_str(), file.c_str(), 0) == 0) chosen.push_back(file);
    }
    if (chosen.size() == before) {
      fail(ErrorCode::kNotFound, "pull", "no further file of {} matches '{}'; it holds {}",
           name.repo, pattern, join(all, ", "));
    }
  }
  return chosen;
}

}  // namespace

std::string ModelName::folder_name() const {
  if (revision == "main") return repo;
  std::string flat = revision;
  std::replace(flat.begin(), flat.end(), '/', '~');  // refs/pr/1: no word of ours holds a tilde
  return repo + "@" + flat;
}

std::string ModelName::to_string() const {
  return repo + (revision == "main" ? "" : "@" + revision) + (quant.empty() ? "" : ":" + quant);
}

ModelName parse_model_name(std::string_view text) {
  std::string_view rest = text;
  for (const std::string_view prefix : {"https://", "huggingface.co/", "hf.co/"}) {
    if (rest.starts_with(prefix)) rest.remove_prefix(prefix.size());
  }
  ModelName name;
  if (const auto colon = rest.find(':'); colon != rest.npos) {
    name.quant = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    if (!is_word(name.quant, "_-.")) rest = {};
  }
  if (const auto at = rest.find('@'); at != rest.npos) {
    name.revision = rest.substr(at + 1);
    rest = rest.substr(0, at);
  }
  name.repo = rest;
  const auto parts = split(rest, '/');
  bool is_good = parts.size() <= 2;
  for (const auto& part : parts) is_good = is_good && is_word(part, "-_.");
  for (const auto& part : split(name.revision, '/')) is_good = is_good && is_word(part, "-_.");
  if (!is_good) {
    fail(ErrorCode::kInvalidArgument, "pull",
         "'{}' is not the name of a model; write owner/name, owner/name:quant or "
         "owner/name@revision",
         text);
  }
  return name;
}

bool is_safe_file_name(std::string_view name) {
  if (!is_valid_utf8(name)) return false;
  for (const auto& part : split(name, '/')) {
    const bool is_odd = std::any_of(part.begin(), part.end(), [](unsigned char c) {
      return c < 0x20 || c == 0x7F || c == '\\' || c == ':';
    });
    if (part.empty() || part == "." || part == ".." || is_odd || part.size() > kMaxFilePart ||
        part.starts_with(".moxie")) {
      return false;
    }
  }
  return true;
}

bool is_gguf(std::string_view file) {
  return file.ends_with(".gguf");
}

bool has_quant(std::string_view file, std::string_view quant) {
  const std::string ending = lower(quant) + ".gguf";
  const std::string name = lower(file);
  if (!name.ends_with(ending)) return false;
  if (name.size() == ending.size()) return true;
  const char before = name[name.size() - ending.size() - 1];
  return before == '-' || before == '.' || before == '_' || before == '/';
}

std::string choose_gguf(const std::vector<std::string>& files, std::string_view repo,
                        std::string_view quant) {
  static constexpr const char* kPreference[] = {"Q4_K_M", "Q4_0", "Q4_1", "Q8_0", "BF16", "F16"};
  std::vector<std::string> whole;
  bool is_split = false;
  for (const auto& file : files) {
    // Projectors of images and statistics for quantisers lie beside models and are none.
    const std::string name = lower(file);
    if (!is_gguf(file) || name.find("mmproj") != name.npos || name.find("imatrix") != name.npos) {
      continue;
    }
    is_split = is_split || is_split_gguf(file);
    if (!is_split_gguf(file)) whole.push_back(file);
  }
  const auto pick = [&](std::string_view wanted) -> const std::string* {
    const auto found = std::find_if(whole.begin(), whole.end(),
                                    [&](const auto& file) { return has_quant(file, wanted); });
    return found == whole.end() ? nullptr : &*found;
  };
  if (!quant.empty()) {
    if (const auto* file = pick(quant)) return *file;
  } else {
    if (whole.size() == 1) return whole.front();
    for (const auto* preferred : kPreference) {
      if (const auto* file = pick(preferred)) return *file;
    }
  }
  fail(ErrorCode::kNotFound, "pull", "{} has no GGUF file for '{}'; write {}:quant for one of {}{}",
       repo, quant, repo, whole.empty() ? "none" : join(whole, ", "),
       is_split ? " (files split into parts cannot be read)" : "");
}

std::vector<std::string> select_files(const std::vector<std::string>& all, const ModelName& name,
                                      const std::vector<std::string>& patterns) {
  if (!patterns.empty()) return by_patterns(all, name, patterns);
  const auto any = [&](auto&& test) { return std::any_of(all.begin(), all.end(), test); };
  const auto is_root = [](const std::string& file, const char* pattern) {
    return matches(file, pattern);  // FNM_PATHNAME: a star does not cross a slash
  };
  const bool has_weights = any([&](const auto& file) { return is_root(file, "*.safetensors"); });
  if (!name.quant.empty() ||
      (!has_weights && any([](const auto& file) { return is_gguf(file); }))) {
    return {choose_gguf(all, name.repo, name.quant)};
  }
  if (!has_weights) {
    fail(
        ErrorCode::kUnsupported, "pull",
        "{} holds neither safetensors nor GGUF weights; convert it first, or look for a repository "
        "that has them",
        name.repo);
  }
  // Mistral's repositories hold everything a second time under this name.
  const bool has_model = any([&](const auto& file) { return is_root(file, "model*.safetensors"); });
  std::vector<std::string> chosen;
  for (const auto& file : all) {
    if (has_model && matches(file, "consolidated*.safetensors")) continue;
    if (is_wanted(file)) chosen.push_back(file);
  }
  return chosen;
}

}  // namespace moxie::io
