// SPDX-License-Identifier: Apache-2.0
// The segmented attention operation: problem description (the C interface of the CUDA plug-in)
// and the arithmetic of one query row, compiled for host and device alike.
//
// A query window attends to several key segments: its own window, then one window of each
// coarser scale, found through an index, so nothing is repeated or concatenated. The softmax is
// one over all segments. Source: arXiv 2503.12355; atlas_forward.md section 5.3 and 11.
#ifndef ATLASSCOPE_ENGINE_KERNELS_MSA_H
#define ATLASSCOPE_ENGINE_KERNELS_MSA_H

#include <stdint.h>

#ifdef __CUDACC__
#define ATLAS_HOST_DEVICE __host__ __device__
#else
#define ATLAS_HOST_DEVICE
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum { kAtlasMsaVersion = 1, kAtlasMsaMaxSegments = 8, kAtlasMsaMaxHeadDim = 256 };

/// Keys and values of one scale: [keyWindows, heads, keysPerWindow, headDim], float32, dense.
typedef struct AtlasMsaSegment {
    const float* k;
    const float* v;
    const uint8_t* valid;      ///< [keyWindows, keysPerWindow], 0 = not a key; NULL: all valid
    const int32_t* keyWindow;  ///< [queryWindows] window each query window sees; NULL: its own
    int64_t keyWindows;
    int32_t keysPerWindow;
    int32_t reserved;
} AtlasMsaSegment;

/// q and out: [queryWindows, heads, queriesPerWindow, headDim]; lse: the same without headDim;
/// mass: [segments, queryWindows, heads, queriesPerWindow] or NULL. All float32, dense, on the
/// device that runs the operation. A query without a key gives 0, lse -inf and mass 0.
typedef struct AtlasMsaProblem {
    int32_t version;  ///< kAtlasMsaVersion
    int32_t segments;
    int64_t queryWindows;
    int32_t heads;
    int32_t queriesPerWindow;
    int32_t headDim;
    float scale;  ///< usually 1 / sqrt(headDim)
    const float* q;
    float* out;
    float* lse;
    float* mass;
    AtlasMsaSegment segment[kAtlasMsaMaxSegments];
} AtlasMsaProblem;

#ifdef __cplusplus
}  // extern "C"

#include <math.h>

namespace atlas::engine {

/// Position of a query row in the dense layouts above.
struct MsaRow {
    int64_t window;
    int32_t head;
    int32_t query;
};

ATLAS_HOST_DEVICE inline MsaRow msaRow(const AtlasMsaProblem& p, int64_t index) {
    MsaRow row;
    row.query = static_cast<int32_t>(index % p.queriesPerWindow);
    row.head = static_cast<int32_t>(index / p.queriesPerWindow % p.heads);
    row.window = index / p.queriesPerWindow / p.heads;
    return row;
}

/// First key of the window that `row` sees in segment `s`, in units of key rows of its head.
ATLAS_HOST_DEVICE inline int64_t msaKeyRow(const AtlasMsaProblem& p, const AtlasMsaSegment& s,
                                           const MsaRow& row) {
    const int64_t window = s.keyWindow ? s.keyWindow[row.window] : row.window;
    return (window * p.heads + row.head) * s.keysPerWindow;
}

ATLAS_HOST_DEVICE inline bool msaKeyValid(const AtlasMsaSegment& s, const MsaRow& row,
                                          int32_t key) {
    if (!s.valid) return true;
    const int64_t window = s.keyWindow ? s.keyWindow[row.window] : row.window;
    return s.valid[window * s.keysPerWindow + key] != 0;
}

/// Online softmax of one query over all its segments: one pass, nothing stored but the row.
ATLAS_HOST_DEVICE inline void msaForwardRow(const AtlasMsaProblem& p, int64_t index) {
    const MsaRow row = msaRow(p, index);
    const float* q = p.q + index * p.headDim;
    float* out = p.out + index * p.headDim;
    float accumulated[kAtlasMsaMaxHeadDim];
    float segmentSum[kAtlasMsaMaxSegments];
    for (int c = 0; c < p.headDim; ++c) accumulated[c] = 0;
    float highest = -INFINITY;
    float sum = 0;
    for (int s = 0; s < p.segments; ++s) {
        const AtlasMsaSegment& segment = p.segment[s];
        const int64_t first = msaKeyRow(p, segment, row);
        segmentSum[s] = 0;
        for (int32_t key = 0; key < segment.keysPerWindow; ++key) {
            if (!msaKeyValid(segment, row, key)) continue;
            const float* k = segment.k + (first + key) * p.headDim;
            const float* v = segment.v + (first + key) * p.headDim;
            float logit = 0;
            for (int c = 0; c < p.headDim; ++c) logit += q[c] * k[c];
            logit *= p.scale;
            if (logit > highest) {
                const float shrink = expf(highest - logit);
                for (int c = 0; c < p.headDim; ++c) accumulated[c] *= shrink;
                for (int earlier = 0; earlier <= s; ++earlier) segmentSum[earlier] *= shrink;
                sum *= shrink;
                highest = logit;
            }
            const float weight = expf(logit - highest);
            sum += weight;
            segmentSum[s] += weight;
            for (int c = 0; c < p.headDim; ++c) accumulated[c] += weight * v[c];
        }
    }
    const float inverse = sum > 0 ? 1 / sum : 0;
    for (int c = 0; c < p.headDim; ++c) out[c] = accumulated[c] * inverse;
    p.lse[index] = sum > 0 ? highest + logf(sum) : -INFINITY;
    const int64_t rows = p.queryWindows * p.heads * p.queriesPerWindow;
    if (p.mass)
        for (int s = 0; s < p.segments; ++s) p.mass[s * rows + index] = segmentSum[s] * inverse;
}

/// nullptr, or why the problem cannot be run.
inline const char* msaCheck(const AtlasMsaProblem& p) {
    if (p.version != kAtlasMsaVersion) return "the problem has another version";
    if (p.segments < 1 || p.segments > kAtlasMsaMaxSegments) return "bad number of segments";
    if (p.headDim < 1 || p.headDim > kAtlasMsaMaxHeadDim) return "bad head size";
    if (p.queryWindows < 0 || p.heads < 1 || p.queriesPerWindow < 1) return "bad shape";
    if (!p.q || !p.out || !p.lse) return "a tensor is missing";
    for (int s = 0; s < p.segments; ++s)
        if (!p.segment[s].k || !p.segment[s].v || p.segment[s].keysPerWindow < 1)
            return "a segment is missing";
    return nullptr;
}

/// Runs the operation on the host, row by row. Throws std::invalid_argument.
void msaForwardHost(const AtlasMsaProblem& problem);

}  // namespace atlas::engine
#endif

#endif
