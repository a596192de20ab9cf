// Augmentation of a data set's images and sequences on the host; what is drawn of images is in ops/augment_images.h.
#pragma once

#include "epitaxy/data/dataset.h"
#include "epitaxy/ops/augment_images.h"

namespace epitaxy {

/// Writes the augmented image: from and to are [H, W, C] of one dtype, not overlapping; H = W where turned by 90 or 270 degrees.
void apply_augmentation(const AugmentDraw& draw, ShiftFill fill, const Tensor& from, const Tensor& to);

/// Rejects an augmentation that cannot be done (tables, rotation of images that are not square, a shift of the whole image) or that would
/// change a target: a regression's value may be a direction, an orientation or a position, so every augmentation is refused there unless
/// the user declares the targets invariant. Labels of a classification are taken to be invariant under what the user switches on.
void check_augmentation(const Augmentation& augmentation, const Dataset& data, bool targets_invariant = false);

/// Of sequences (spectra): steps lie draw_stretch() times as far from the first, up to 1 + most or 1 - most. So a larger lattice moves the
/// peaks of a powder pattern, to first order. A function of (seed, epoch, item).
double draw_stretch(double most, std::uint64_t seed, std::uint32_t epoch, std::uint64_t item);
/// to[t] = from[t / factor], linear between steps, zero beyond the last; both fp32 [T, C], not overlapping.
void stretch(double factor, const Tensor& from, const Tensor& to);
/// Rejects what is outside [0, 0.5], data that are no whole sequences, and a regression whose targets are not declared invariant.
void check_stretch(double most, const Dataset& data, bool targets_invariant = false);

}  // namespace epitaxy
