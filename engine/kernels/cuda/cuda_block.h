// SPDX-License-Identifier: Apache-2.0
// A CUDA thread block for msa_block.h: asynchronous copies, ldmatrix and mma.sync (sm_80 and
// later). host_block.h says in plain loops what each of these does.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "engine/kernels/msa_block.h"

namespace atlas::engine {

class CudaBlock {
  public:
    /// N registers of the calling thread.
    template <typename T, int N>
    class Registers {
      public:
        __device__ T& at(int, int i) { return values_[i]; }
        __device__ const T& at(int, int i) const { return values_[i]; }

      private:
        T values_[N];
    };

    __device__ explicit CudaBlock(char* shared)
        : shared_(shared), base_(static_cast<uint32_t>(__cvta_generic_to_shared(shared))) {}

    template <typename F>
    __device__ void each(const F& f) {
        f(static_cast<int>(threadIdx.x));
    }

    /// 16 bytes, or zeros where `present` is false.
    __device__ void copyChunk(int offset, const char* from, bool present) {
        asm volatile(
            "cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;\n" ::"r"(base_ + offset),
            "l"(__cvta_generic_to_global(from)), "r"(present ? 16 : 0)
            : "memory");
    }
    __device__ void commitCopies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
    template <int Pending>
    __device__ void waitCopies() {
        asm volatile("cp.async.wait_group %0;\n" ::"n"(Pending) : "memory");
    }
    __device__ void barrier() { __syncthreads(); }

    template <bool Transposed, class R, class F>
    __device__ void loadMatrices(R& to, int first, const F& address) {
        const int thread = static_cast<int>(threadIdx.x);
        const uint32_t from = base_ + address(thread);
        uint32_t &a = to.at(thread, first), &b = to.at(thread, first + 1),
                 &c = to.at(thread, first + 2), &d = to.at(thread, first + 3);
        if constexpr (Transposed)
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                         : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
                         : "r"(from)
                         : "memory");
        else
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                         : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
                         : "r"(from)
                         : "memory");
    }

    template <class Element, class Sums, class A, class B>
    __device__ void multiply(Sums& sums, int firstSum, const A& a, int firstA, const B& b,
                             int firstB) {
        float &s0 = sums.at(0, firstSum), &s1 = sums.at(0, firstSum + 1),
              &s2 = sums.at(0, firstSum + 2), &s3 = sums.at(0, firstSum + 3);
        const uint32_t a0 = a.at(0, firstA), a1 = a.at(0, firstA + 1), a2 = a.at(0, firstA + 2),
                       a3 = a.at(0, firstA + 3), b0 = b.at(0, firstB), b1 = b.at(0, firstB + 1);
        if constexpr (std::is_same_v<Element, MsaBfloat16>)
            asm volatile(
                "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
                : "+f"(s0), "+f"(s1), "+f"(s2), "+f"(s3)
                : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
        else
            asm volatile(
                "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
                "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
                : "+f"(s0), "+f"(s1), "+f"(s2), "+f"(s3)
                : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
    }

    /// Over the four threads that share a row.
    template <int N, class R>
    __device__ void quadMax(R& values) {
        ATLAS_UNROLL
        for (int i = 0; i < N; ++i) {
            float& x = values.at(0, i);
            x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
            x = fmaxf(x, __shfl_xor_sync(~0u, x, 2));
        }
    }
    template <int N, class R>
    __device__ void quadSum(R& values) {
        ATLAS_UNROLL
        for (int i = 0; i < N; ++i) {
            float& x = values.at(0, i);
            x += __shfl_xor_sync(~0u, x, 1);
            x += __shfl_xor_sync(~0u, x, 2);
        }
    }

    __device__ void storePair(int offset, uint32_t pair) {
        *reinterpret_cast<uint32_t*>(shared_ + offset) = pair;
    }
    __device__ void storeChunk(char* to, int offset) {
        *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(shared_ + offset);
    }

    __device__ static float powerOfTwo(float x) {
        float y;
        asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
        return y;
    }
    template <class Element>
    __device__ static uint32_t pack(float low, float high) {
        uint32_t pair;
        if constexpr (std::is_same_v<Element, MsaBfloat16>)
            asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
        else
            asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
        return pair;
    }

  private:
    char* shared_;
    uint32_t base_;
};

}  // namespace atlas::engine
