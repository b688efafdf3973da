#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace moxie::optim {
namespace {

double fall(double progress) {
  return 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
}

double share(int64_t part, int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(std::max<int64_t>(1, whole));
}

const ScheduleDef constant_entry{"the base rate after the warm-up",
                                 [](int64_t, const Phases&) { return 1.0; }};

const ScheduleDef linear_entry{"falls in a straight line to 0", [](int64_t step, const Phases& p) {
                                 return std::max(0.0, share(p.total - step, p.total - p.warmup));
                               }};

const ScheduleDef cosine_entry{"falls along half a cosine to 0", [](int64_t step, const Phases& p) {
                                 return std::max(0.0,
                                                 fall(share(step - p.warmup, p.total - p.warmup)));
                               }};

const ScheduleDef wsd_entry{"warm-up, stable, then a cosine decay to 0 (Hu et al., MiniCPM, 2024)",
                            [](int64_t step, const Phases& p) {
                              const int64_t stable_end = p.total - p.decay;
                              if (step < stable_end) return 1.0;
                              if (step >= p.total) return 0.0;
                              return std::max(0.0, fall(share(step - stable_end, p.decay)));
                            },
                            true};

}  // namespace

Table<ScheduleDef> schedules() {
  static constexpr Named<ScheduleDef> kTable[] = {
#define ENTRY(name) {#name, &name##_entry},
#include "optim/schedules.list"
#undef ENTRY
  };
  return kTable;
}

int64_t resolve_steps(double ratio_or_steps, int64_t total) {
  if (ratio_or_steps >= 1) return static_cast<int64_t>(ratio_or_steps);
  return static_cast<int64_t>(std::ceil(static_cast<double>(total) * ratio_or_steps));
}

Schedule::Schedule(std::string_view name, double base_rate, int64_t total_steps, double warmup,
                   double decay)
    : def_(require_row(schedules(), "schedule", name).entry), base_rate_(base_rate) {
  if (!(base_rate >= 0) || !std::isfinite(base_rate)) {
    fail(ErrorCode::kInvalidArgument, "schedule", "the learning rate is {}; choose one above 0",
         base_rate);
  }
  if (total_steps < 1 || !(warmup >= 0) || !(decay >= 0)) {
    fail(ErrorCode::kInvalidArgument, "schedule",
         "{} steps, warm-up {} and decay {} do not fit; choose at least 1 step, and warm-up and "
         "decay "
         "of 0 or more",
         total_steps, warmup, decay);
  }
  phases_.total = total_steps;
  phases_.warmup = resolve_steps(warmup, total_steps);
  if (def_->has_decay_phase) phases_.decay = resolve_steps(decay, total_steps);
  // Two shares that fit may exceed a short run by their rounding up: the decay gives way.
  if (warmup < 1 && decay < 1 && warmup + decay <= 1) {
    phases_.decay = std::min(phases_.decay, total_steps - phases_.warmup);
  }
  if (phases_.warmup + phases_.decay > total_steps) {
    fail(ErrorCode::kInvalidArgument, "schedule",
         "warm-up ({} steps) and decay ({} steps) exceed the run's {} steps; choose shorter ones",
         phases_.warmup, phases_.decay, total_steps);
  }
}

double Schedule::learning_rate(int64_t step) const {
  if (step < phases_.warmup) return base_rate_ * share(step, phases_.warmup);
  return base_rate_ * def_->factor(step, phases_);
}

}  // namespace moxie::optim
