// {chosen, rejected, prompt?}: which of two answers is better.
// Recognised, so that it is not trained on by mistake.
#include "data/shape.h"

namespace moxie::data {

extern const Shape preference_entry;
const Shape preference_entry{
    .summary = "two answers, one preferred",
    .needs = {"chosen", "rejected"},
    .takes = {"prompt"},
    .refusal =
        "this is preference data (chosen, rejected); supervised tuning needs one answer: "
        "keep the chosen one as \"completion\" beside \"prompt\"",
    .example = R"({"prompt": "The sky is", "chosen": " blue.", "rejected": " green."})",
};

}  // namespace moxie::data
