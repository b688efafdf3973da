#include "train/run_state.h"

#include <cstring>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "io/safetensors.h"

namespace moxie::train {
namespace fs = std::filesystem;
namespace {

constexpr int kFormat = 1;

template <class T>
Json optional_json(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

template <class T>
std::optional<T> optional_from(const Json& value) {
  if (value.is_null()) return std::nullopt;
  return value.get<T>();
}

Json state_to_json(const RunState& s) {
  return {{"step", s.step},
          {"epoch", s.epoch},
          {"batch_cursor", s.batch_cursor},
          {"order_sha256", s.order_digest},
          {"accumulation",
           {{"micro_batches", s.accumulation.micro_batches},
            {"loss", s.accumulation.loss},
            {"tokens", s.accumulation.tokens}}},
          {"rng", {{"seed", s.rng.seed()}, {"stream", s.rng.stream()}, {"index", s.rng.index()}}},
          {"tokens_seen", s.tokens_seen},
          {"last_loss", optional_json(s.last_loss)},
          {"evaluation",
           {{"last_step", s.last_eval_step},
            {"best_loss", optional_json(s.best_loss)},
            {"best_step", optional_json(s.best_step)},
            {"without_gain", s.evals_without_gain}}},
          {"stopped_early", s.has_stopped_early}};
}

RunState state_from_json(const Json& json) {
  RunState s;
  s.step = json.at("step").get<int64_t>();
  s.epoch = json.at("epoch").get<int64_t>();
  s.batch_cursor = json.at("batch_cursor").get<int64_t>();
  s.order_digest = json.at("order_sha256").get<std::string>();
  const Json& accumulation = json.at("accumulation");
  s.accumulation.micro_batches = accumulation.at("micro_batches").get<int64_t>();
  s.accumulation.loss = accumulation.at("loss").get<double>();
  s.accumulation.tokens = accumulation.at("tokens").get<int64_t>();
  const Json& rng = json.at("rng");
  s.rng = Rng(rng.at("seed").get<uint64_t>(), rng.at("stream").get<uint64_t>(),
              rng.at("index").get<uint64_t>());
  s.tokens_seen = json.at("tokens_seen").get<int64_t>();
  s.last_loss = optional_from<double>(json.at("last_loss"));
  const Json& evaluation = json.at("evaluation");
  s.last_eval_step = evaluation.at("last_step").get<int64_t>();
  s.best_loss = optional_from<double>(evaluation.at("best_loss"));
  s.best_step = optional_from<int64_t>(evaluation.at("best_step"));
  s.evals_without_gain = evaluation.at("without_gain").get<int64_t>();
  s.has_stopped_early = json.at("stopped_early").get<bool>();
  return s;
}

std::string fact_or_none(const Facts& facts, const std::string& key) {
  const auto at = facts.find(key);
  return at == facts.end() ? "(not given)" : at->second;
}

void check_facts(const Json& saved_json, const Facts& now, const fs::path& folder) {
  Facts saved;
  for (const auto& [key, value] : saved_json.items()) saved[key] = value.get<std::string>();
  Facts all = saved;
  all.insert(now.begin(), now.end());
  for (const auto& [key, unused] : all) {
    const std::string before = fact_or_none(saved, key);
    const std::string after = fact_or_none(now, key);
    if (before == after) continue;
    fail(ErrorCode::kInvalidArgument, "resume",
         "{} was {} when '{}' was saved, and is {} now; give the same again to go on, or start "
         "afresh "
         "in another folder",
         key, before, folder.string(), after);
  }
}

using Target = std::pair<std::string, Tensor>;

std::vector<Target> values_of(const nn::ParamList& params) {
  std::vector<Target> list;
  for (nn::Param* param : params) {
    if (param->is_trainable) list.emplace_back(param->name, param->value);
  }
  return list;
}

std::vector<Target> gradients_of(const nn::ParamList& params) {
  std::vector<Target> list;
  for (nn::Param* param : params) list.emplace_back(param->name, param->gradient);
  return list;
}

std::vector<Target> state_of(const optim::Optimizer& optimizer) {
  std::vector<Target> list;
  for (auto& entry : optimizer.state()) list.emplace_back(entry.name, entry.tensor);
  return list;
}

void write(const fs::path& path, const std::vector<Target>& tensors) {
  std::vector<io::NamedTensor> named;
  for (const auto& [name, tensor] : tensors) named.push_back({name, tensor});
  io::write_safetensors(path, named);
}

// A file whose tensors were found to be exactly the targets.
class Restored {
 public:
  Restored(const fs::path& path, std::vector<Target> targets)
      : file_(io::Safetensors::open(path)), targets_(std::move(targets)) {
    if (file_->tensors().size() != targets_.size()) {
      fail(ErrorCode::kCorruptData, "resume", "'{}' holds {} tensors, but this run has {}",
           path.string(), file_->tensors().size(), targets_.size());
    }
    for (const auto& [name, tensor] : targets_) {
      const io::StoredTensor* stored = file_->find(name);
      const std::string_view type = tensor.dtype() == DType::kI64 ? "I64" : "F32";
      if (stored == nullptr || stored->type_name != type || stored->dims != tensor.shape().dims()) {
        fail(ErrorCode::kCorruptData, "resume",
             "'{}' has no tensor '{}' of {} {}, as this run needs", path.string(), name, type,
             tensor.shape().to_string());
      }
    }
  }
  void copy() const {
    for (const auto& [name, tensor] : targets_) {
      std::memcpy(tensor.raw(), file_->find(name)->bytes.data(), tensor.bytes());
    }
  }

 private:
  std::shared_ptr<const io::Safetensors> file_;
  std::vector<Target> targets_;
};

}  // namespace

void save_run(const fs::path& folder, const RunState& state, const Facts& facts,
              const optim::Phases& schedule, const optim::Optimizer& optimizer) {
  write(folder / "params.safetensors", values_of(optimizer.params()));
  write(folder / "optimizer.safetensors", state_of(optimizer));
  if (state.accumulation.micro_batches > 0) {
    write(folder / "gradients.safetensors", gradients_of(optimizer.params()));
  }
  Json facts_json = Json::object();
  for (const auto& [key, value] : facts) facts_json[key] = value;
  const Json json = {{"format", kFormat},
                     {"state", state_to_json(state)},
                     {"schedule",
                      {{"total_steps", schedule.total},
                       {"warmup_steps", schedule.warmup},
                       {"decay_steps", schedule.decay}}},
                     {"facts", facts_json}};
  write_file_atomically(folder / "state.json", json.dump(2) + "\n");
}

RunState load_run(const fs::path& folder, const Facts& facts, const optim::Optimizer& optimizer) {
  const fs::path path = folder / "state.json";
  const Json json = read_json_file(path);
  RunState state;
  try {
    if (json.at("format").get<int>() != kFormat) {
      fail(ErrorCode::kUnsupported, "resume", "'{}' has format {}, and this version reads {}",
           path.string(), json.at("format").dump(), kFormat);
    }
    check_facts(json.at("facts"), facts, folder);
    state = state_from_json(json.at("state"));
  } catch (const Json::exception& error) {
    fail(ErrorCode::kCorruptData, "resume", "'{}' is not the state of a run: {}", path.string(),
         error.what());
  }
  std::vector<Restored> files;
  files.emplace_back(folder / "params.safetensors", values_of(optimizer.params()));
  files.emplace_back(folder / "optimizer.safetensors", state_of(optimizer));
  if (state.accumulation.micro_batches > 0) {
    files.emplace_back(folder / "gradients.safetensors", gradients_of(optimizer.params()));
  }
  for (const Restored& file : files) file.copy();
  for (nn::Param* param : optimizer.params()) ++param->changes;
  return state;
}

void load_params(const fs::path& folder, const nn::ParamList& params) {
  Restored(folder / "params.safetensors", values_of(params)).copy();
  for (nn::Param* param : params) ++param->changes;
}

}  // namespace moxie::train
