// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/packed_linear.h"

#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "engine/nn/aligned_floats.h"

namespace atlas::engine {
namespace {

/// Pieces give what the whole product gives, whatever the parts; bit by bit, since no sum changes.
TEST(PackedLinear, PiecesMakeUpTheProduct) {
    constexpr int64_t in = 72, out = 150;
    const Linear layer{at::randn({out, in}), at::randn({out})};
    for (const CpuKernels* kernels : usableCpuKernels())
        for (const bool bf16 : {false, true}) {
            if (bf16 && !kernels->productBf16) continue;
            const auto packed = PackedLinear::pack(layer, nullptr, *kernels, 1, bf16);
            ASSERT_EQ(packed.out, 160);
            for (const int64_t rows : {1, 14, 33, 100})
                for (const int64_t parts : {1, 2, 3}) {
                    if (parts > rows) continue;
                    SCOPED_TRACE(std::string(kernels->name) + (bf16 ? " bf16 " : " ") +
                                 std::to_string(rows) + " rows, parts " + std::to_string(parts));
                    const int64_t stride = in + 8, wide = packed.out + 16;
                    const at::Tensor x = at::randn({rows, stride});
                    const at::Tensor before = at::randn({rows, wide});
                    const auto ptr = [](const at::Tensor& t) { return t.data_ptr<float>(); };

                    AlignedFloats memory(bf16Floats(rows, in));
                    PackedLinear::Rows read{ptr(x), stride, rows, parts};
                    if (bf16) {
                        auto* tiles = reinterpret_cast<uint16_t*>(memory.data());
                        kernels->packRowsBf16(read.x, stride, rows, in, tiles);
                        read.tiles = tiles;
                    }
                    const at::Tensor whole = before.clone(), inPieces = before.clone();
                    packed.apply(*kernels, read.x, stride, ptr(whole), wide, rows,
                                 Activation::Gelu);
                    for (int64_t i = 0; i < packed.pieces(read); ++i)
                        packed.applyPiece(i, *kernels, read, ptr(inPieces), wide, Activation::Gelu);
                    EXPECT_TRUE(whole.equal(inPieces));
                    EXPECT_FALSE(whole.equal(before));

                    const at::Tensor sum = before.clone(), sumOfPieces = before.clone();
                    const at::Tensor between = at::randn({rows, wide});
                    packed.add(*kernels, read.x, stride, ptr(between), wide, ptr(sum), wide, rows);
                    for (int64_t i = 0; i < packed.pieces(read); ++i)
                        packed.addPiece(i, *kernels, read, ptr(between), wide, ptr(sumOfPieces),
                                        wide);
                    EXPECT_TRUE(sum.equal(sumOfPieces));
                }
        }
}

}  // namespace
}  // namespace atlas::engine
