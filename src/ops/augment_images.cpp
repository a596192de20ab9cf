#include "epitaxy/ops/augment_images.h"

#include <algorithm>

#include "kernels/augment_images.h"
#include "ops/dispatch.h"

namespace epitaxy {

namespace {

class AugmentImages final : public Operation {
 public:
  explicit AugmentImages(const Augmentation& augmentation) : augmentation_(augmentation) {
    require(augmentation.shift >= 0 && augmentation.shift <= 4096, "augment_images: a shift of ", augmentation.shift,
            " pixels is outside 0..4096");
  }
  std::string name() const override { return "augment_images"; }
  std::string details() const override {
    std::string result;
    const auto add = [&](const std::string& part) { result += (result.empty() ? "" : " ") + part; };
    if (augmentation_.flip_horizontal) add("flip_horizontal");
    if (augmentation_.flip_vertical) add("flip_vertical");
    if (augmentation_.rotate) add("rotate");
    if (augmentation_.shift) add(text("shift ", augmentation_.shift, augmentation_.fill == ShiftFill::wrap ? " wrap" : " edge"));
    return result;
  }
  std::vector<TensorSpec> outputs(std::span<const TensorSpec> inputs) const override {
    require_inputs("augment_images", inputs.size(), 4, 4);
    const TensorSpec& x = inputs[0];
    require((x.dtype == DType::uint8 || x.dtype == DType::uint16 || x.dtype == DType::fp32) && x.shape.rank() == 4 && x.shape.count() > 0,
            "augment_images: images must be uint8, uint16 or fp32 [N, H, W, C], not empty, got ", x);
    const std::int64_t n = x.shape[0], h = x.shape[1], w = x.shape[2];
    require(h * w < (std::int64_t{1} << 31) && n * ((h * w + 1023) / 1024) < (std::int64_t{1} << 31), "augment_images: ", x,
            " is more than a GPU call takes: use a smaller batch");
    require(!augmentation_.rotate || h == w, "augment_images: rotation needs square images, got ", x);
    require(augmentation_.shift < std::min(h, w), "augment_images: a shift of ", augmentation_.shift, " pixels moves images ", x,
            " out of sight");
    const TensorSpec one{DType::int64, {1}};
    require(inputs[1] == one && inputs[2] == one, "augment_images: seed and epoch must be int64 [1], got ", inputs[1], " and ", inputs[2]);
    require(inputs[3] == TensorSpec{DType::int64, {n}}, "augment_images: sample must be int64 [", n, "], got ", inputs[3]);
    return {x};
  }
  void run(const Call& call) const override {
    const Tensor& x = call.inputs[0];
    const AugmentImagesArgs args{x.data(),
                                 call.outputs[0].data(),
                                 call.inputs[1].as<std::int64_t>(),
                                 call.inputs[2].as<std::int64_t>(),
                                 call.inputs[3].as<std::int64_t>(),
                                 x.dim(0),
                                 x.dim(1),
                                 x.dim(2),
                                 x.dim(3) * static_cast<std::int64_t>(size_of(x.dtype())),
                                 augmentation_};
    dispatch<CpuPath::reference>(call.context, [&]<class World>(Stream stream) { epitaxy::augment_images<World>(args, stream); });
  }
  Tolerance tolerance(std::span<const TensorSpec>) const override { return {.factor = 0}; }  // a copy

 private:
  Augmentation augmentation_;
};

}  // namespace

OperationPtr augment_images(const Augmentation& augmentation) { return std::make_shared<AugmentImages>(augmentation); }

}  // namespace epitaxy
