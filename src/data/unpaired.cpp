// {prompt, completion, label}: an answer and whether it is good.
// Recognised, so that it is not trained on by mistake.
#include "data/shape.h"

namespace moxie::data {
namespace {

// A label that is a word is a column nobody asked about: the row is prompt and completion then.
bool has_verdict(const Json& row) {
  const Json& label = row["label"];
  return label.is_boolean() || label == 0 || label == 1;
}

}  // namespace

extern const Shape unpaired_entry;
const Shape unpaired_entry{
    .summary = "an answer marked good or bad",
    .needs = {"prompt", "completion", "label"},
    .fits = has_verdict,
    .refusal =
        "this is unpaired preference data (a label beside each completion); supervised "
        "tuning needs good answers only: keep the rows whose label is true and leave the "
        "label out",
    .example = R"({"prompt": "The sky is", "completion": " blue.", "label": true})",
};

}  // namespace moxie::data
