#include "adapt/attachment.h"

#include <algorithm>
#include <map>

namespace moxie::adapt {

Attachment::Attachment(nn::Decoder& decoder, std::string method_name,
                       std::unique_ptr<Method> method, TargetOptions targets)
    : decoder_(&decoder),
      method_name_(std::move(method_name)),
      method_(std::move(method)),
      targets_(std::move(targets)) {}

Attachment::~Attachment() {
  detach();
}

void Attachment::attach(const std::vector<Target>& sites, uint64_t seed) {
  sites_ = sites;
  for (size_t i = 0; i < sites.size(); ++i) {
    adapters_.push_back(method_->make(*sites[i].site, sites[i].module, Rng(seed, i + 1)));
  }
  for (size_t i = 0; i < sites.size(); ++i) sites[i].site->taps.push_back(adapters_[i]);
}

std::unique_ptr<Attachment> Attachment::create(models::Model& model, const std::string& method_name,
                                               std::unique_ptr<Method> method,
                                               const TargetOptions& targets, uint64_t seed) {
  const auto sites = select_targets(*model.decoder, targets, method->site_kinds(), method_name);
  std::unique_ptr<Attachment> made(
      new Attachment(*model.decoder, method_name, std::move(method), targets));
  made->base_name_ = model.path.string();
  made->attach(sites, seed);
  return made;
}

nn::ParamList Attachment::params() const {
  nn::ParamList list;
  for (const auto& adapter : adapters_) {
    for (nn::Param* param : adapter->params()) list.push_back(param);
  }
  return list;
}

void Attachment::detach() {
  for (nn::Site* site : decoder_->sites()) {
    std::erase_if(site->taps, [&](const std::shared_ptr<nn::Tap>& tap) {
      return std::any_of(adapters_.begin(), adapters_.end(),
                         [&](const auto& adapter) { return adapter == tap; });
    });
  }
}

void Attachment::merge(models::Model& model) {
  const auto& entry = *require_row(methods(), "method", method_name_).entry;
  if (entry.not_mergeable != nullptr) {
    fail(ErrorCode::kUnsupported, method_name_, "cannot be merged: {}", entry.not_mergeable);
  }
  for (const auto& adapter : adapters_) {
    if (adapter->site_name() == "head") model.decoder->untie();
  }
  std::map<std::string, nn::Matrix*> by_name;
  for (nn::Matrix* matrix : model.decoder->matrices()) by_name[matrix->name()] = matrix;
  const auto& config = model.decoder->config();
  for (const auto& adapter : adapters_) {
    if (adapter->site_name() == "embed" && config.ties_embeddings) {
      fail(ErrorCode::kUnsupported, "merge",
           "the embedding is tied to the output projection, and the adapter changes only the "
           "first; keep the adapter separate");
    }
    nn::Matrix* matrix = by_name.at(adapter->site_name());
    Tensor values = matrix->decode();
    adapter->merge_into(values);
    matrix->replace(quant::Weight::from_tensor(values));
  }
  detach();
}

}  // namespace moxie::adapt
