// {prompt, completions, labels}: an answer in steps, each right or wrong.
// Recognised, so that it is not trained on by mistake.
#include "data/shape.h"

namespace moxie::data {

extern const Shape stepwise_entry;
const Shape stepwise_entry{
    .summary = "an answer in steps, each right or wrong",
    .needs = {"prompt", "completions", "labels"},
    .refusal =
        "this is stepwise supervision (completions, labels), which trains reward models; "
        "supervised tuning needs one answer: join the right steps into \"completion\"",
    .example = R"({"prompt": "2 + 3 * 2", "completions": ["3 * 2 = 6", "2 + 6 = 9"], )"
               R"("labels": [true, false]})",
};

}  // namespace moxie::data
