// What is inside a file or folder, without loading a weight: a GGUF file, a safetensors file, a
// Hugging Face directory or a PEFT adapter.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "app/cli/verb.h"
#include "base/files.h"
#include "base/text_util.h"
#include "io/gguf.h"
#include "io/hub.h"
#include "io/safetensors.h"

namespace moxie::cli {
namespace {

namespace fs = std::filesystem;

struct InspectOptions {
  std::string path;
  bool tensors = false;

  void visit(auto& v) {
    v("path", path,
      "a GGUF or safetensors file, the folder of a model or an adapter, or a pulled name");
    v("tensors", tensors, "list every tensor");
  }
};

constexpr size_t kShownItems = 4;  // of a list of metadata

Json shortened(const io::GgufValue& value) {
  return std::visit(
      [](const auto& item) -> Json {
        using Item = std::decay_t<decltype(item)>;
        if constexpr (std::is_same_v<Item, io::GgufArray>) {
          return std::visit(
              [](const auto& items) -> Json {
                Json first = Json::array();
                for (size_t i = 0; i < std::min(items.size(), kShownItems); ++i) {
                  first.push_back(
                      static_cast<typename std::decay_t<decltype(items)>::value_type>(items[i]));
                }
                return {{"count", items.size()}, {"first", first}};
              },
              item.items);
        } else {
          return item;
        }
      },
      value);
}

Json describe_tensors(const std::vector<io::StoredTensor>& tensors, bool is_listed) {
  uint64_t bytes = 0;
  int64_t elements = 0;
  std::map<std::string, std::pair<int64_t, uint64_t>> types;  // tensors, bytes
  Json list = Json::array();
  for (const auto& tensor : tensors) {
    bytes += tensor.bytes.size();
    elements += tensor.count();
    auto& [count, size] = types[tensor.type_name];
    ++count;
    size += tensor.bytes.size();
    list.push_back({{"name", tensor.name},
                    {"type", tensor.type_name},
                    {"shape", tensor.dims},
                    {"bytes", tensor.bytes.size()}});
  }
  Json by_type = Json::object();
  for (const auto& [name, sums] : types) {
    by_type[name] = {{"tensors", sums.first}, {"bytes", sums.second}};
  }
  Json found = {{"parameters", elements},
                {"bytes", bytes},
                {"tensor_count", tensors.size()},
                {"types", by_type}};
  if (is_listed) found["tensors"] = list;
  return found;
}

Json inspect_gguf(const fs::path& path, bool is_listed) {
  const auto file = io::GgufFile::open(path);
  Json found = {{"kind", "gguf"}, {"path", path.string()}, {"version", file->version()}};
  if (file->get_string("general.type").value_or("model") == "adapter")
    found["kind"] = "gguf adapter";
  found["architecture"] = file->get_string("general.architecture").value_or("");
  found.update(describe_tensors(file->tensors(), is_listed));
  Json metadata = Json::object();
  for (const auto& [key, value] : file->metadata()) metadata[key] = shortened(value);
  found["metadata"] = metadata;
  return found;
}

Json inspect_safetensors(const io::Safetensors& file, const fs::path& path, bool is_listed) {
  Json found = {{"kind", "safetensors"}, {"path", path.string()}};
  found.update(describe_tensors(file.tensors(), is_listed));
  Json metadata = Json::object();
  for (const auto& [key, value] : file.metadata()) metadata[key] = value;
  found["metadata"] = metadata;
  return found;
}

Json inspect_folder(const fs::path& path, bool is_listed) {
  if (fs::exists(path / "adapter_config.json")) {
    const auto file = io::Safetensors::open(path / "adapter_model.safetensors");
    Json found = inspect_safetensors(*file, path, is_listed);
    found["kind"] = "peft adapter";
    found["metadata"] = read_json_file(path / "adapter_config.json");
    return found;
  }
  if (fs::exists(path / "config.json")) {
    const auto file = io::Safetensors::open_folder(path);
    Json found = inspect_safetensors(*file, path, is_listed);
    found["kind"] = "hugging face model";
    const Json config = read_json_file(path / "config.json");
    found["architecture"] = config.value("model_type", "");
    found["metadata"] = config;
    return found;
  }
  fail(ErrorCode::kInvalidArgument, "inspect",
       "'{}' has neither config.json (a model) nor adapter_config.json (an adapter)",
       path.string());
}

bool starts_with_magic(const fs::path& path) {
  const std::string suffix = path.extension().string();
  if (suffix == ".gguf") return true;
  if (suffix == ".safetensors") return false;
  std::FILE* file = std::fopen(path.c_str(), "rb");
  char magic[4] = {};
  const bool is_gguf =
      file != nullptr && std::fread(magic, 1, 4, file) == 4 && std::string_view(magic, 4) == "GGUF";
  if (file != nullptr) std::fclose(file);
  return is_gguf;
}

Json examine(const InspectOptions& options) {
  const fs::path path = io::resolve_model(options.path);
  if (fs::is_directory(path)) return inspect_folder(path, options.tensors);
  if (starts_with_magic(path)) return inspect_gguf(path, options.tensors);
  return inspect_safetensors(*io::Safetensors::open(path), path, options.tensors);
}

std::string shape_text(const Json& shape) {
  std::vector<std::string> parts;
  for (const auto& size : shape) parts.push_back(size.dump());
  return join(parts, " x ");
}

std::string shown(const Json& value) {
  if (value.is_object() && value.contains("count") && value.contains("first")) {
    std::string text = value["first"].dump(-1, ' ', false, Json::error_handler_t::replace);
    if (value["count"].get<size_t>() > kShownItems) {
      text = text.substr(0, text.size() - 1) +
             fmt::format(", ... {} in all]", value["count"].get<size_t>());
    }
    return text;
  }
  std::string text = value.is_string() ? value.get<std::string>()
                                       : value.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::replace(text.begin(), text.end(), '\n', ' ');
  constexpr size_t kLongest = 100;
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

void print(const Json& found, const Terminal& terminal) {
  TextTable facts{{"", ""}, {}, {}};
  for (const char* key :
       {"kind", "path", "version", "architecture", "parameters", "bytes", "tensor_count"}) {
    if (!found.contains(key)) continue;
    const bool is_bytes = std::string_view(key) == "bytes";
    facts.rows.push_back({terminal.green(key), is_bytes ? human_bytes(found[key].get<uint64_t>())
                                                        : printable(shown(found[key]))});
  }
  fmt::print("{}\n", facts.render(terminal));
  TextTable types{{"type", "tensors", "size"}, {}, {false, true, true}};
  for (const auto& [name, sums] : found["types"].items()) {
    types.rows.push_back(
        {name, sums["tensors"].dump(), human_bytes(sums["bytes"].get<uint64_t>())});
  }
  fmt::print("{}", types.render(terminal));
  if (!found["metadata"].empty()) {
    TextTable metadata{{"metadata", ""}, {}, {}};
    for (const auto& [key, value] : found["metadata"].items()) {
      metadata.rows.push_back({terminal.green(printable(key)), printable(shown(value))});
    }
    fmt::print("\n{}", metadata.render(terminal));
  }
  if (found.contains("tensors")) {
    TextTable list{{"tensor", "type", "shape", "size"}, {}, {false, false, false, true}};
    for (const auto& tensor : found["tensors"]) {
      list.rows.push_back({printable(tensor["name"].get<std::string>()), tensor["type"],
                           shape_text(tensor["shape"]),
                           human_bytes(tensor["bytes"].get<uint64_t>())});
    }
    fmt::print("\n{}", list.render(terminal));
  }
}

void run(InspectOptions& options, Context& context) {
  const Json found = examine(options);
  if (context.globals.json) {
    fmt::print("{}\n", found.dump(2, ' ', false, Json::error_handler_t::replace));
  } else {
    print(found, context.out);
  }
}

}  // namespace

extern const Verb inspect_entry;
const Verb inspect_entry = {.group = Group::kFiles,
                            .summary = "what is inside a model, an adapter or a tensor file",
                            .positionals = "path",
                            .examples =
                                "moxie inspect model.gguf\n"
                                "moxie inspect my-adapter --tensors\n"
                                "moxie inspect model.gguf --json",
                            .reads_recipe = false,
                            .create = invocation<InspectOptions, run>};

}  // namespace moxie::cli
