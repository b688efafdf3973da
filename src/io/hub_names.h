#pragma once
// Names that come from a user or from the Hub, before they touch a path.
#include <string>
#include <string_view>
#include <vector>

namespace moxie::io {

// True for a relative path of plain parts: no "..", no absolute path, no control character, none of
// Moxie's own files.
bool is_safe_file_name(std::string_view name);

bool is_gguf(std::string_view file);
// True when the file's name ends in this quant ("model-Q4_K_M.gguf", "model.q4_k_m.gguf").
bool has_quant(std::string_view file, std::string_view quant);
// The one GGUF among `files` that `quant` means: its own, or with an empty quant the only one or
// the one of the usual preference. Throws kNotFound that lists the choices.
std::string choose_gguf(const std::vector<std::string>& files, std::string_view repo,
                        std::string_view quant);

}  // namespace moxie::io
