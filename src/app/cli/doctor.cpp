// What this machine offers and what Moxie makes of it: the first thing to attach to a bug report.
#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "app/cli/verb.h"
#include "base/cpu.h"
#include "base/files.h"
#include "base/large_pages.h"
#include "base/memory.h"
#include "base/text_util.h"
#include "base/threads.h"
#include "io/hub.h"

namespace moxie::cli {
namespace {

Json features() {
  const Cpu& found = cpu();
  Json list = Json::array();
  const std::pair<const char*, bool> all[] = {{"avx2", found.avx2},
                                              {"fma", found.fma},
                                              {"f16c", found.f16c},
                                              {"avx512", found.avx512},
                                              {"avx512_bf16", found.avx512_bf16},
                                              {"avx512_vnni", found.avx512_vnni},
                                              {"avx_vnni", found.avx_vnni},
                                              {"amx_bf16", found.amx_bf16},
                                              {"amx_int8", found.amx_int8}};
  for (const auto& [name, present] : all) {
    if (present) list.push_back(name);
  }
  return list;
}

Json cache_sizes() {
  Json sizes = Json::object();
  const std::pair<const char*, int> levels[] = {{"l1d", _SC_LEVEL1_DCACHE_SIZE},
                                                {"l2", _SC_LEVEL2_CACHE_SIZE},
                                                {"l3", _SC_LEVEL3_CACHE_SIZE}};
  for (const auto& [name, key] : levels) {
    if (const long bytes = ::sysconf(key); bytes > 0) sizes[name] = bytes;
  }
  return sizes;
}

std::string system_name() {
  utsname name{};
  if (::uname(&name) != 0) return "unknown";
  return fmt::format("{} {} {}", name.sysname, name.release, name.machine);
}

Json examine() {
  return {{"moxie", version()},
          {"system", system_name()},
          {"cpu", cpu().model},
          {"cores", cpu().cores},
          {"threads", thread_count()},
          {"features", features()},
          {"isa", to_string(active_isa())},
          {"bf16_tiles", has_bf16_tiles()},
          {"caches", cache_sizes()},
          {"memory_bytes", machine_memory()},
          {"available_bytes", available_memory()},
          {"large_pages", has_large_pages()},
          {"models_folder", io::models_folder().string()},
          {"cache_folder", cache_folder().string()},
          {"data_folder", data_folder().string()}};
}

std::string shown(const std::string& key, const Json& value) {
  if (key.ends_with("_bytes")) return human_bytes(value.get<uint64_t>());
  if (value.is_array()) return join(value.get<std::vector<std::string>>(), " ");
  if (value.is_object()) {
    std::vector<std::string> parts;
    for (const auto& [name, size] : value.items()) {
      parts.push_back(name + " " + human_bytes(size.get<uint64_t>()));
    }
    return join(parts, ", ");
  }
  return value.is_string() ? value.get<std::string>() : value.dump();
}

void run(NoOptions&, Context& context) {
  const Json found = examine();
  if (context.globals.json) {
    fmt::print("{}\n", found.dump(2));
    return;
  }
  TextTable table{{"", ""}, {}, {}};
  for (const auto& [key, value] : found.items()) {
    table.rows.push_back({context.out.green(key), printable(shown(key, value))});
  }
  fmt::print("{}", table.render(context.out));
}

}  // namespace

extern const Verb doctor_entry;
const Verb doctor_entry = {.group = Group::kHouse,
                           .summary = "what this machine offers: CPU, memory, folders, versions",
                           .positionals = "",
                           .examples = "moxie doctor\nmoxie doctor --json",
                           .reads_recipe = false,
                           .create = invocation<NoOptions, run>};

}  // namespace moxie::cli
