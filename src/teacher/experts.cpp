#include "src/teacher/experts.h"

#include <algorithm>
#include <optional>
#include <set>

#include "src/teacher/streamed_expert.h"
#include "wandistill/converted_weights.h"
#include "wandistill/error.h"
#include "wandistill/job_sizes.h"

namespace wandistill {
namespace {

using Sources = std::vector<ComponentWeights>;

/// Where the ops work for good: in one buffer, or in the mapping of the files.
class ResidentExperts : public Experts {
 public:
  ResidentExperts(Sources sources, const ParameterLayout& layout) : sources_(std::move(sources)) {
    for (const ComponentWeights& source : sources_) {
      mapped_.emplace_back(source, layout);
      converted_.emplace_back(kMostConverted / int64_t(sources_.size()));
    }
  }
  WanWeights weights(size_t expert) override {
    if (sources_[expert].mapped()) return {&mapped_[expert], &converted_[expert]};
    return {sources_[expert].flat(), &converted_[expert]};
  }

 private:
  class Mapped : public PlacedWeights {
   public:
    Mapped(const ComponentWeights& source, const ParameterLayout& layout)
        : source_(source), parameters_(layout.parameters()) {}
    const void* at(const ParameterInfo& parameter) const override {
      const auto found = std::ranges::lower_bound(parameters_, parameter.offset, {}, &ParameterInfo::offset);
      return source_.at(size_t(found - parameters_.begin()));
    }

   private:
    const ComponentWeights& source_;
    const std::vector<ParameterInfo>& parameters_;
  };

  const Sources sources_;
  std::vector<Mapped> mapped_;
  std::vector<ConvertedWeights> converted_;
};

/// Experts in the node's memory, pinned, of which the GPU has a part.
class PinnedExperts : public Experts {
 public:
  PinnedExperts(Sources sources, const Compute& compute) : compute_(compute), sources_(std::move(sources)) {
    for (ComponentWeights& source : sources_) {
      compute.device->pin(source.flat(), source.flat_bytes());
      ++pinned_;
    }
  }
  ~PinnedExperts() override {
    try {
      compute_.device->synchronize();
    } catch (const Error&) {
      // Whoever waited for the work has heard of it.
    }
    for (size_t i = 0; i < pinned_; ++i) compute_.device->unpin(sources_[i].flat());
  }

 protected:
  const Compute& compute_;
  Sources sources_;

 private:
  size_t pinned_ = 0;
};

/// One at a time on the GPU.
class SwappedExperts : public PinnedExperts {
 public:
  SwappedExperts(Sources sources, const ParameterLayout& layout, const Compute& compute, Dtype dtype)
      : PinnedExperts(std::move(sources), compute),
        element_bytes_(dtype == Dtype::kBfloat16 ? 2 : 4),
        memory_(compute, layout.total() * element_bytes_) {
    for (const ComponentWeights& source : sources_) experts_.emplace_back(*this, source);
  }
  WanWeights weights(size_t expert) override { return &experts_[expert]; }

 private:
  class Swapped : public PlacedWeights {
   public:
    Swapped(SwappedExperts& all, const ComponentWeights& source) : all_(all), source_(source) {}
    const void* at(const ParameterInfo& parameter) const override {
      return all_.memory_.data() + parameter.offset * all_.element_bytes_;
    }
    void begin_pass(const Queue& queue) override {
      if (all_.there_ == this) return;
      all_.there_ = this;
      queue.stream->copy(all_.memory_.data(), source_.flat(), source_.flat_bytes());
    }

   private:
    SwappedExperts& all_;
    const ComponentWeights& source_;
  };

  const int64_t element_bytes_;
  OpBuffer<char> memory_;
  std::vector<Swapped> experts_;
  const Swapped* there_ = nullptr;
};

class StreamedExperts : public PinnedExperts {
 public:
  StreamedExperts(Sources sources, const ParameterLayout& layout, const Compute& compute, Dtype dtype)
      : PinnedExperts(std::move(sources), compute),
        memory_(layout, dtype == Dtype::kBfloat16 ? 2 : 4, compute) {
    for (const ComponentWeights& source : sources_)
      experts_.emplace_back(layout, dtype == Dtype::kBfloat16 ? 2 : 4, source.flat(), memory_);
  }
  WanWeights weights(size_t expert) override { return &experts_[expert]; }

 private:
  StreamMemory memory_;
  std::vector<StreamedExpert> experts_;
};

/// The files of an expert, checked.
std::shared_ptr<const SafetensorsFolder> open_expert(const std::filesystem::path& folder,
                                                     const std::vector<TensorSpec>& tensors) {
  auto files = std::make_shared<const SafetensorsFolder>(folder, "diffusion_pytorch_model");
  std::set<std::string> known;
  for (const TensorSpec& tensor : tensors) {
    files->expect(tensor.name, tensor.shape);
    known.insert(tensor.name);
  }
  files->refuse_unknown(known, transformer_tensor_unused);
  return files;
}

}  // namespace

std::unique_ptr<Experts> load_experts(Session* session, const std::vector<std::filesystem::path>& folders,
                                      const ParameterLayout& layout, const Compute& compute, Dtype dtype,
                                      TeacherPlacement placement) {
  std::vector<TensorSpec> tensors;
  for (const ParameterInfo& p : layout.parameters()) tensors.push_back({p.name, p.shape});
  std::vector<std::shared_ptr<const SafetensorsFolder>> files;
  const auto open = [&] {
    for (const auto& folder : folders) files.push_back(open_expert(folder, tensors));
  };
  session ? session->collectively(open) : open();
  const bool in_node = placement == TeacherPlacement::kExpert || placement == TeacherPlacement::kStream;
  WD_REQUIRE(placement != TeacherPlacement::kAuto && (!in_node || !compute.on_host()));
  Sources sources;
  LoadFigures figures;
  for (auto& file : files) {
    sources.emplace_back(session, std::move(file), tensors, compute, dtype,
                         in_node ? ComponentWeights::Place::kNode : ComponentWeights::Place::kOps,
                         "the teacher's experts");
    figures.bytes += sources.back().figures().bytes;
    figures.seconds += sources.back().figures().seconds;
  }
  const std::string type = compute.element(dtype) == Dtype::kBfloat16 ? "bfloat16" : "float32";
  std::string where = cat("in ", type, " in the GPU's memory");
  if (placement == TeacherPlacement::kHost)
    where = cat(sources.front().mapped() ? "mapped from its files" : "in float32 in the node's memory",
                ", computed on the CPU in ", compute.products(dtype));
  else if (placement == TeacherPlacement::kExpert)
    where = cat("in ", type, " in the node's memory, one expert at a time on the GPU");
  else if (placement == TeacherPlacement::kStream)
    where = cat("in ", type, " in the node's memory, block by block to the GPU");
  std::unique_ptr<Experts> experts;
  const Dtype element = compute.element(dtype);
  if (placement == TeacherPlacement::kExpert)
    experts = std::make_unique<SwappedExperts>(std::move(sources), layout, compute, element);
  else if (placement == TeacherPlacement::kStream)
    experts = std::make_unique<StreamedExperts>(std::move(sources), layout, compute, element);
  else
    experts = std::make_unique<ResidentExperts>(std::move(sources), layout);
  experts->figures = figures;
  experts->where = where;
  return experts;
}

}  // namespace wandistill
