// Which sanitizer this build has. The emulator's own files are never instrumented for TSan (only kernels are), so the
// build says EPITAXY_TSAN=1 there too.
#pragma once

#if !defined(EPITAXY_TSAN)
#if defined(__SANITIZE_THREAD__)
#define EPITAXY_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define EPITAXY_TSAN 1
#endif
#endif
#endif
#if !defined(EPITAXY_TSAN)
#define EPITAXY_TSAN 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define EPITAXY_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EPITAXY_ASAN 1
#endif
#endif
#if !defined(EPITAXY_ASAN)
#define EPITAXY_ASAN 0
#endif

namespace epitaxy::emulated {
inline constexpr bool kThreadSanitizer = EPITAXY_TSAN != 0;
inline constexpr bool kAddressSanitizer = EPITAXY_ASAN != 0;
}  // namespace epitaxy::emulated
