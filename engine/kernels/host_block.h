// SPDX-License-Identifier: Apache-2.0
// A thread block in plain loops: what the PTX manual says that cp.async, ldmatrix, mma.sync and
// shfl do, lane by lane. The policy that lets msa_block.h run without a GPU.
#pragma once

#include <array>
#include <cassert>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "engine/kernels/msa_block.h"
#include "engine/kernels/msa_host.h"

namespace atlas::engine {

template <int Threads>
class HostBlock {
  public:
    /// N registers of each thread. They start as rubbish, as on a device.
    template <typename T, int N>
    class Registers {
      public:
        Registers() : values_(static_cast<size_t>(Threads) * N) {
            std::memset(values_.data(), 0x7f, values_.size() * sizeof(T));
        }
        T& at(int thread, int i) {
            assert(i >= 0 && i < N);
            return values_[static_cast<size_t>(thread * N + i)];
        }
        const T& at(int thread, int i) const {
            assert(i >= 0 && i < N);
            return values_[static_cast<size_t>(thread * N + i)];
        }

      private:
        std::vector<T> values_;
    };

    explicit HostBlock(int sharedBytes) : shared_(static_cast<size_t>(sharedBytes), char{0x7f}) {}

    template <typename F>
    void each(const F& f) {
        for (int thread = 0; thread < Threads; ++thread) f(thread);
    }

    /// Copies arrive only when they are waited for, as late as a device may let them.
    void copyChunk(int offset, const char* from, bool present) {
        Copy copy{offset, {}};
        if (present) std::memcpy(copy.bytes.data(), from, 16);
        open_.push_back(copy);
    }
    void commitCopies() { groups_.push_back(std::exchange(open_, {})); }
    template <int Pending>
    void waitCopies() {
        while (groups_.size() > Pending) {
            for (const Copy& copy : groups_.front())
                std::memcpy(at(copy.offset, 16), copy.bytes.data(), 16);
            groups_.erase(groups_.begin());
        }
    }
    void barrier() {}

    /// A block must not end while copies are on their way to its shared memory, which the next one
    /// may have by then. Throws std::logic_error.
    void end() const {
        size_t copies = open_.size();
        for (const auto& group : groups_) copies += group.size();
        if (copies > 0)
            throw std::logic_error("a block ends with " + std::to_string(copies) +
                                   " copies on their way");
    }

    /// ldmatrix.x4(.trans): matrix m has its eight rows at the addresses of lanes 8m..8m+7.
    template <bool Transposed, class R, class F>
    void loadMatrices(R& to, int first, const F& address) {
        for (int warp = 0; warp < Threads; warp += 32)
            for (int m = 0; m < 4; ++m) {
                uint16_t matrix[8][8];
                for (int row = 0; row < 8; ++row) {
                    const int offset = address(warp + 8 * m + row);
                    assert(offset % 16 == 0);
                    std::memcpy(matrix[row], at(offset, 16), 16);
                }
                for (int lane = 0; lane < 32; ++lane) {
                    const int a = lane / 4, b = lane % 4 * 2;
                    const uint32_t low = Transposed ? matrix[b][a] : matrix[a][b];
                    const uint32_t high = Transposed ? matrix[b + 1][a] : matrix[a][b + 1];
                    to.at(warp + lane, first + m) = low | high << 16;
                }
            }
    }

    /// mma.sync.m16n8k16: sums += a b.
    template <class Element, class Sums, class A, class B>
    void multiply(Sums& sums, int firstSum, const A& a, int firstA, const B& b, int firstB) {
        for (int warp = 0; warp < Threads; warp += 32) {
            float left[16][16], right[16][8];
            for (int lane = 0; lane < 32; ++lane) {
                const int group = lane / 4, column = lane % 4 * 2;
                for (int i = 0; i < 4; ++i)
                    unpack<Element>(a.at(warp + lane, firstA + i),
                                    left[group + i % 2 * 8][column + i / 2 * 8],
                                    left[group + i % 2 * 8][column + i / 2 * 8 + 1]);
                for (int i = 0; i < 2; ++i)
                    unpack<Element>(b.at(warp + lane, firstB + i), right[column + i * 8][group],
                                    right[column + i * 8 + 1][group]);
            }
            for (int lane = 0; lane < 32; ++lane)
                for (int i = 0; i < 4; ++i) {
                    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
                    float sum = 0;
                    for (int k = 0; k < 16; ++k) sum += left[row][k] * right[k][column];
                    sums.at(warp + lane, firstSum + i) += sum;
                }
        }
    }

    template <int N, class R>
    void quadMax(R& values) {
        combine<N>(values, [](float a, float b) { return a > b ? a : b; });
    }
    template <int N, class R>
    void quadSum(R& values) {
        combine<N>(values, [](float a, float b) { return a + b; });
    }

    void storePair(int offset, uint32_t pair) { std::memcpy(at(offset, 4), &pair, 4); }
    void storeChunk(char* to, int offset) { std::memcpy(to, at(offset, 16), 16); }

    static float powerOfTwo(float x) { return std::exp2(x); }
    template <class Element>
    static uint32_t pack(float low, float high) {
        return static_cast<uint32_t>(round<Element>(low)) |
               static_cast<uint32_t>(round<Element>(high)) << 16;
    }

  private:
    struct Copy {
        int offset;
        std::array<char, 16> bytes;
    };

    char* at(int offset, int bytes) {
        assert(offset >= 0 && static_cast<size_t>(offset + bytes) <= shared_.size());
        (void)bytes;
        return shared_.data() + offset;
    }
    template <class Element>
    static uint16_t round(float x) {
        return std::is_same_v<Element, MsaBfloat16> ? toBfloat16(x) : toFloat16(x);
    }
    template <class Element>
    static void unpack(uint32_t pair, float& low, float& high) {
        const auto a = static_cast<uint16_t>(pair), b = static_cast<uint16_t>(pair >> 16);
        constexpr bool bf16 = std::is_same_v<Element, MsaBfloat16>;
        low = bf16 ? fromBfloat16(a) : fromFloat16(a);
        high = bf16 ? fromBfloat16(b) : fromFloat16(b);
    }
    template <int N, class R, class F>
    void combine(R& values, const F& f) {
        for (int quad = 0; quad < Threads; quad += 4)
            for (int i = 0; i < N; ++i) {
                float x = values.at(quad, i);
                for (int lane = 1; lane < 4; ++lane) x = f(x, values.at(quad + lane, i));
                for (int lane = 0; lane < 4; ++lane) values.at(quad + lane, i) = x;
            }
    }

    std::vector<char> shared_;
    std::vector<Copy> open_;
    std::vector<std::vector<Copy>> groups_;
};

}  // namespace atlas::engine
