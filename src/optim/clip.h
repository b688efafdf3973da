#pragma once
// Gradient clipping by the norm over all params (torch.nn.utils.clip_grad_norm_): gradients are
// scaled by min(1, max_norm / (norm + 1e-6)), which the optimizer does as it reads them. The norm
// is summed in double, in an order that does not depend on threads.
#include "nn/param.h"

namespace moxie::optim {

double gradient_norm(const nn::ParamList& params);
// By what gradients of this norm are scaled. max_norm 0 means no clipping; a norm that is not
// finite scales nothing and is the caller's to refuse.
float clip_factor(double norm, double max_norm);

}  // namespace moxie::optim
