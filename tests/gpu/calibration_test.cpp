// Holds the emulator against a GPU: each modelled instruction, the same kernel source in both worlds, the same bits. Tensor cores get
// small integers, whose sums are exact in every order.
#if EPITAXY_HAS_EMULATOR
#define EPITAXY_EMULATED 1

#include "tests/gpu/calibration.cu"
#include "emulator/backend.h"
#include "gpu/backend.h"
#include "tests/gpu/calibration_cases.h"
#include "tests/support/compare.h"

namespace epitaxy::calibration {
namespace {

constexpr Device kCard{DeviceKind::cuda, 0};

class Calibration : public testing::Test {
 protected:
  void SetUp() override {
    const std::string why = test::why_absent(kCard);
    if (why.empty()) return;
    test::skip_device(kCard, why);
    GTEST_SKIP() << why;
  }
  static int compute() { return gpu().stream().profile->compute; }
  static DeviceBackend& gpu() { return cuda_backend(0); }
  static DeviceBackend& emulated() { return emulated_backend(); }
};

#define EPITAXY_NEEDS_HOPPER() \
  if (compute() != 90) GTEST_SKIP() << "needs an sm_90 card; this one is sm_" << compute()

TEST_F(Calibration, MmaSync) {
  for (const DType dtype : {DType::bf16, DType::fp16, DType::fp32})
    EXPECT_EQ(run_mma<Cuda>(gpu(), dtype), run_mma<Emulated>(emulated(), dtype)) << name(dtype);
}

TEST_F(Calibration, AsyncCopies) { EXPECT_EQ(run_copies<Cuda>(gpu()), run_copies<Emulated>(emulated())); }

TEST_F(Calibration, LdmatrixAndStmatrix) {
  EPITAXY_NEEDS_HOPPER();
  EXPECT_EQ(run_matrices<Cuda>(gpu()), run_matrices<Emulated>(emulated()));
}

TEST_F(Calibration, TiledLoadsAndStores) {
  EPITAXY_NEEDS_HOPPER();
  for (const BoxCase& one : tiled_cases())
    for (const bool store : {false, true})
      EXPECT_EQ(run_box<Cuda>(gpu(), one, store), run_box<Emulated>(emulated(), one, store)) << one.name << (store ? ", store" : ", load");
}

TEST_F(Calibration, Im2colLoads) {
  EPITAXY_NEEDS_HOPPER();
  for (const Im2colCase& one : im2col_cases())
    EXPECT_EQ(run_box<Cuda>(gpu(), one.box, false), run_box<Emulated>(emulated(), one.box, false)) << one.box.name;
}

TEST_F(Calibration, Wgmma) {
  EPITAXY_NEEDS_HOPPER();
  for (const WgmmaCase& one : wgmma_cases()) EXPECT_EQ(run_wgmma<Cuda>(gpu(), one), run_wgmma<Emulated>(emulated(), one)) << one.name();
}

TEST_F(Calibration, Pipeline) {
  EPITAXY_NEEDS_HOPPER();
  for (const int steps : {1, 2, 3, 10}) EXPECT_EQ(run_pipeline<Cuda>(gpu(), steps), run_pipeline<Emulated>(emulated(), steps)) << steps;
}

}  // namespace
}  // namespace epitaxy::calibration

#else

#include <gtest/gtest.h>

TEST(Calibration, Emulator) { GTEST_SKIP() << "built without the emulator"; }

#endif
