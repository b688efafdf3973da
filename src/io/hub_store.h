#pragma once
// .moxie-pull.json: what lies in a pulled folder. Written last, so a folder without it is
// unfinished.
#include <filesystem>
#include <optional>

#include "io/hub.h"

namespace moxie::io {

constexpr const char* kPullManifest = ".moxie-pull.json";
constexpr const char* kPullLock = ".moxie-pull.lock";  // held by the pull that is at work

std::optional<PulledModel> read_pulled(const std::filesystem::path& models,
                                       const std::string& name);
void write_pulled(const PulledModel& model);

}  // namespace moxie::io
