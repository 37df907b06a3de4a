// SPDX-License-Identifier: Apache-2.0
#include "engine/kernels/msa_host.h"

#include <bit>
#include <cmath>
#include <stdexcept>

#include "engine/kernels/host_block.h"

namespace atlas::engine {
namespace {

template <class Element>
void forward(const AtlasMsaProblem& p) {
    msaWithShape(p.headDim, p.queriesPerWindow, [&](auto shape) {
        using Shape = decltype(shape);
        using Block = HostBlock<Shape::threads>;
        for (int64_t window = 0; window < p.queryWindows; ++window)
            for (int head = 0; head < p.heads; ++head)
                for (int first = 0; first < p.queriesPerWindow; first += Shape::rows) {
                    Block block(Shape::sharedBytes);
                    MsaForward<Element, Shape, Block>(block, p, window, head, first).run();
                    block.end();
                }
    });
}

template <class Element>
void received(const AtlasMsaProblem& p, const AtlasMsaReceived& r) {
    const AtlasMsaSegment& s = p.segment[r.segment];
    msaWithShape(p.headDim, s.keysPerWindow, [&](auto shape) {
        using Shape = decltype(shape);
        using Block = HostBlock<Shape::threads>;
        for (int part = 0; part < r.parts; ++part)
            for (int64_t window = 0; window < s.keyWindows; ++window)
                for (int head = 0; head < p.heads; ++head)
                    for (int first = 0; first < s.keysPerWindow; first += Shape::rows) {
                        Block block(Shape::sharedBytes);
                        MsaReceived<Element, Shape, Block>(block, p, r, window, head, first, part)
                            .run();
                        block.end();
                    }
    });
}

}  // namespace

void msaForwardHost(const AtlasMsaProblem& problem) {
    if (const char* cause = msaCheck(problem)) throw std::invalid_argument(cause);
    if (problem.element == kAtlasBfloat16) return forward<MsaBfloat16>(problem);
    if (problem.element == kAtlasFloat16) return forward<MsaFloat16>(problem);
    const int64_t rows = problem.queryWindows * problem.heads * problem.queriesPerWindow;
    for (int64_t row = 0; row < rows; ++row) msaForwardRow(problem, row);
}

void msaReceivedHost(const AtlasMsaProblem& problem, const AtlasMsaReceived& request) {
    if (const char* cause = msaCheckReceived(problem, request)) throw std::invalid_argument(cause);
    if (problem.element == kAtlasBfloat16) return received<MsaBfloat16>(problem, request);
    received<MsaFloat16>(problem, request);
}

uint16_t toBfloat16(float x) {
    const auto bits = std::bit_cast<uint32_t>(x);
    if (std::isnan(x)) return 0x7fc0;
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float fromBfloat16(uint16_t bits) {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

uint16_t toFloat16(float x) {
    const auto sign = static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16 & 0x8000);
    const float size = std::fabs(x);
    if (std::isnan(x)) return 0x7e00;
    if (size >= 65520) return sign | 0x7c00;
    // Adding 2^(exponent - 10 + 23) leaves the mantissa rounded to ten bits in the low ones.
    const int exponent = size < 0x1p-14f ? -14 : std::ilogb(size);
    const float unit = std::ldexp(1.0f, exponent - 10);
    const auto steps = static_cast<uint32_t>(std::nearbyint(size / unit));  // 0..2048
    return sign | static_cast<uint16_t>(steps + (static_cast<uint32_t>(exponent + 14) << 10));
}

float fromFloat16(uint16_t bits) {
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    float size;
    if (exponent == 31)
        size = mantissa ? NAN : INFINITY;
    else if (exponent == 0)
        size = std::ldexp(static_cast<float>(mantissa), -24);
    else
        size = std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
    return bits & 0x8000 ? -size : size;
}

}  // namespace atlas::engine
