/* SPDX-License-Identifier: Apache-2.0 */
/* Segmented attention: what is asked for (the C interface of the CUDA plug-in).
 *
 * A query window attends to several key segments: its own window, then one window of each coarser
 * scale, found through an index, so nothing is repeated or concatenated. The softmax is one over
 * all segments. Source: arXiv 2503.12355; atlas_forward.md sections 5.3 and 11. The tiled program
 * that answers it on tensor cores is msa_block.h. */
#ifndef ATLASSCOPE_ENGINE_KERNELS_MSA_H
#define ATLASSCOPE_ENGINE_KERNELS_MSA_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { kAtlasMsaVersion = 3, kAtlasMsaMaxSegments = 8, kAtlasMsaMaxHeadDim = 256 };

/// Of q, k, v and out. float32 is computed in float32, row by row (any head size); the 16-bit
/// types on tensor cores with float32 sums (head sizes 32, 64, 128; 16-byte aligned rows).
enum { kAtlasFloat32 = 0, kAtlasBfloat16 = 1, kAtlasFloat16 = 2 };

/// [windows, heads, rows, headDim]; strides in elements; the channels of a row are dense.
typedef struct AtlasMsaTensor {
    void* data;
    int64_t window, head, row;
} AtlasMsaTensor;

/// Keys and values of one scale: [keyWindows, heads, keysPerWindow, headDim].
typedef struct AtlasMsaSegment {
    AtlasMsaTensor k, v;
    const uint8_t* valid;      ///< [keyWindows, keysPerWindow], 0 = not a key; NULL: all valid
    const int32_t* keyWindow;  ///< [queryWindows] window each query window sees; NULL: its own
    int64_t keyWindows;        ///< queryWindows, where keyWindow is NULL
    int32_t keysPerWindow;
    int32_t reserved;
} AtlasMsaSegment;

/// q and out: [queryWindows, heads, queriesPerWindow, headDim]. lse, dense float32: the same
/// without headDim. mass, dense float32: [segments, queryWindows, heads, queriesPerWindow] or NULL.
/// All on the device that runs it. A query without a key gives 0, lse -inf and mass 0.
typedef struct AtlasMsaProblem {
    int32_t version;  ///< kAtlasMsaVersion
    int32_t element;  ///< kAtlasFloat32, kAtlasBfloat16 or kAtlasFloat16
    int32_t segments;
    int32_t heads;
    int64_t queryWindows;
    int32_t queriesPerWindow;
    int32_t headDim;
    float scale;  ///< usually 1 / sqrt(headDim)
    int32_t reserved;
    AtlasMsaTensor q, out;
    float* lse;
    float* mass;
    AtlasMsaSegment segment[kAtlasMsaMaxSegments];
} AtlasMsaProblem;

/// The attention that the keys of one segment receive, after the forward operation has filled lse:
/// received[part][head][key window][key] = sum of the softmax weights over the queries of that part
/// (parts only spread the work; the caller adds them up).
typedef struct AtlasMsaReceived {
    int32_t segment;
    int32_t parts;
    const uint8_t* validQuery;   ///< [queryWindows, queriesPerWindow], 0 = not counted; NULL: all
    const int32_t* queryStart;   ///< [keyWindows + 1] into queryWindow; NULL: each its own window,
                                 ///< which needs a segment without keyWindow
    const int32_t* queryWindow;  ///< query windows that see each key window, one after another
    float* received;             ///< dense float32
} AtlasMsaReceived;

#ifdef __cplusplus
}  // extern "C"

#include <cmath>

namespace atlas::engine {

inline bool msaTensorAligned(const AtlasMsaTensor& t) {
    return reinterpret_cast<uintptr_t>(t.data) % 16 == 0 && t.window % 8 == 0 && t.head % 8 == 0 &&
           t.row % 8 == 0;
}

/// nullptr, or why the problem cannot be run (static storage).
inline const char* msaCheck(const AtlasMsaProblem& p) {
    if (p.version != kAtlasMsaVersion) return "the problem has another version";
    if (p.segments < 1 || p.segments > kAtlasMsaMaxSegments) return "bad number of segments";
    if (p.headDim < 1 || p.headDim > kAtlasMsaMaxHeadDim) return "bad head size";
    if (p.queryWindows < 0 || p.heads < 1 || p.queriesPerWindow < 1) return "bad shape";
    if (!p.q.data || !p.out.data || !p.lse) return "a tensor is missing";
    for (int s = 0; s < p.segments; ++s)
        if (!p.segment[s].k.data || !p.segment[s].v.data || p.segment[s].keysPerWindow < 1)
            return "a segment is missing";
    for (int s = 0; s < p.segments; ++s)  // without an index, a window's number is that of its keys
        if (!p.segment[s].keyWindow && p.segment[s].keyWindows != p.queryWindows)
            return "a segment without an index has not as many windows as the queries";
    for (int s = 0; s < p.segments; ++s)
        if (p.queryWindows > 0 && p.segment[s].keyWindows < 1) return "a segment has no windows";
    if (p.element == kAtlasFloat32) return nullptr;
    if (p.element != kAtlasBfloat16 && p.element != kAtlasFloat16) return "bad element type";
    if (p.headDim != 32 && p.headDim != 64 && p.headDim != 128)
        return "tensor cores take head sizes 32, 64 and 128";
    if (!msaTensorAligned(p.q) || !msaTensorAligned(p.out)) return "a tensor is not aligned";
    for (int s = 0; s < p.segments; ++s)
        if (!msaTensorAligned(p.segment[s].k) || !msaTensorAligned(p.segment[s].v))
            return "a segment is not aligned";
    return nullptr;
}

inline const char* msaCheckReceived(const AtlasMsaProblem& p, const AtlasMsaReceived& r) {
    if (const char* cause = msaCheck(p)) return cause;
    if (p.element == kAtlasFloat32) return "received attention takes 16-bit elements";
    if (r.segment < 0 || r.segment >= p.segments) return "there is no such segment";
    if (r.parts < 1 || r.parts > 65535 || !r.received) return "bad request";
    if (!r.queryStart != !r.queryWindow) return "half an index of query windows";
    if (!r.queryStart && p.segment[r.segment].keyWindow)
        return "a segment with an index needs one of its query windows too";
    return nullptr;
}

}  // namespace atlas::engine
#endif

#endif
