#pragma once
// Which sites a pattern picks. Modules are named as in the Hugging Face model
// (model.layers.3.self_attn.q_proj); PEFT's rules hold: a list names suffixes, a single string that
// is no plain name is a regular expression over the whole name. A pattern that matches nothing is
// an error.
#include <string>
#include <vector>

#include "adapt/method.h"

namespace moxie::adapt {

struct Target {
  nn::Site* site;
  std::string module;  // Hugging Face name
};

std::vector<Target> select_targets(nn::Decoder& decoder, const TargetOptions& options,
                                   const std::vector<nn::SiteKind>& kinds,
                                   const std::string& where);

// PEFT's rule for one entry of target_modules or of a rank or alpha pattern.
bool matches_module(const std::string& pattern, const std::string& module);

}  // namespace moxie::adapt
