#pragma once
// Learning-rate schedules: a factor of the base rate for step k, k from 0 (the first update of a
// run with warm-up has rate 0). They follow transformers' get_*_schedule_with_warmup and
// get_wsd_schedule.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/registry.h"

namespace moxie::optim {

struct Phases {
  int64_t total = 0;   // steps of the run
  int64_t warmup = 0;  // linear from 0
  int64_t decay = 0;   // the last steps, where the schedule has such a phase
};

struct ScheduleDef {
  std::string_view summary;
  double (*factor)(int64_t step, const Phases& phases);  // after the warm-up
  bool has_decay_phase = false;
};

Table<ScheduleDef> schedules();

// A number of steps given as a share of the total (below 1, rounded up) or as steps (1 and above).
int64_t resolve_steps(double ratio_or_steps, int64_t total);

class Schedule {
 public:
  // `warmup` and `decay` as resolve_steps takes them.
  Schedule(std::string_view name, double base_rate, int64_t total_steps, double warmup,
           double decay = 0.1);
  double learning_rate(int64_t step) const;
  const Phases& phases() const { return phases_; }

 private:
  const ScheduleDef* def_;
  double base_rate_;
  Phases phases_;
};

}  // namespace moxie::optim
