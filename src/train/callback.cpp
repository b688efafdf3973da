#include "train/callback.h"

namespace moxie::train {

std::string_view to_string(Outcome outcome) {
  switch (outcome) {
    case Outcome::kFinished:
      return "finished";
    case Outcome::kStoppedEarly:
      return "stopped early";
    case Outcome::kInterrupted:
      return "interrupted";
  }
  return "";
}

Json to_json(const StepMetrics& metrics) {
  return {{"step", metrics.step},
          {"epoch", metrics.epoch},
          {"loss", metrics.loss},
          {"learning_rate", metrics.learning_rate},
          {"grad_norm", metrics.grad_norm},
          {"tokens", metrics.tokens},
          {"learnt_tokens", metrics.learnt_tokens},
          {"tokens_seen", metrics.tokens_seen},
          {"seconds", metrics.seconds},
          {"tokens_per_second", metrics.tokens_per_second},
          {"peak_rss_mib", metrics.peak_rss_mib}};
}

Json to_json(const EvalMetrics& metrics) {
  return {{"step", metrics.step},
          {"epoch", metrics.epoch},
          {"loss", metrics.loss},
          {"perplexity", metrics.perplexity},
          {"learnt_tokens", metrics.learnt_tokens},
          {"is_best", metrics.is_best},
          {"seconds", metrics.seconds}};
}

}  // namespace moxie::train
