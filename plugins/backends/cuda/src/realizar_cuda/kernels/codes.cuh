// How codes of quantized weights lie in memory, whatever their type: planes of bits for chunks of 32 weights.
//
// low: 16 bytes a chunk (4 bits: low nibbles are weights 0-15, high ones 16-31), 8 bytes (2 bits) or 32 (8 bits).
// high: further bits, 4 bytes a chunk (one bit) or 8 (two). scales: what belongs to a chunk. super: what belongs to
// a block of 8 chunks. `planes.py` writes them; each is [rows, chunks or blocks] of so many bytes.
#pragma once
#include "common.cuh"

struct Planes {
  const u8 *low, *high, *scales, *super;
};

template <int N> struct Bytes;
template <> struct Bytes<0> { struct Word {}; };
template <> struct Bytes<1> { typedef u8 Word; };
template <> struct Bytes<2> { typedef u16 Word; };
template <> struct Bytes<4> { typedef u32 Word; };
template <> struct Bytes<8> { typedef uint2 Word; };
template <> struct Bytes<16> { typedef uint4 Word; };
template <> struct Bytes<32> { struct Word { uint4 first, second; }; };

template <int N> __device__ __forceinline__ typename Bytes<N>::Word load_bytes(const u8 *plane, size_t i) {
  typedef typename Bytes<N>::Word Word;
  if constexpr (N == 0) return Word{};
  else if constexpr (N == 32) return Word{load_once<uint4>(plane + 32 * i), load_once<uint4>(plane + 32 * i + 16)};
  else return load_once<Word>(plane + N * i);
}

// The stored bytes of one chunk of a type T.
template <class T> struct Stored {
  typename Bytes<T::LOW>::Word low;
  typename Bytes<T::HIGH>::Word high;
  typename Bytes<T::SCALES>::Word scales;
  typename Bytes<T::SUPER>::Word super;

  __device__ __forceinline__ void load(const Planes &p, size_t chunk) {
    low = load_bytes<T::LOW>(p.low, chunk);
    high = load_bytes<T::HIGH>(p.high, chunk);
    scales = load_bytes<T::SCALES>(p.scales, chunk);
    super = load_bytes<T::SUPER>(p.super, chunk >> 3);
  }
};

// Two-bit fields, four to a byte lane: word w of eight has its fields at bits 2 (w % 4) of each byte.
__device__ __forceinline__ u32 two_bits(uint2 v, int w) { return ((w < 4 ? v.x : v.y) >> 2 * (w & 3)) & 0x03030303u; }

// The 32 codes of a chunk as bytes, in order; w: which four of them.
template <class T> __device__ __forceinline__ u32 codes_of(const Stored<T> &s, int w) {
  u32 q = 0;
  if constexpr (T::LOW == 32) {
    const u32 words[8] = {s.low.first.x,  s.low.first.y,  s.low.first.z,  s.low.first.w,
                          s.low.second.x, s.low.second.y, s.low.second.z, s.low.second.w};
    q = words[w];
  } else if constexpr (T::LOW == 16) {
    const u32 words[4] = {s.low.x, s.low.y, s.low.z, s.low.w};
    q = (w < 4 ? words[w & 3] : words[w & 3] >> 4) & 0x0f0f0f0fu;
  } else {
    q = two_bits(s.low, w);
  }
  constexpr int next = T::LOW == 16 ? 4 : 2;
  if constexpr (T::HIGH == 4) q |= ((s.high >> w) & 0x01010101u) << next;
  if constexpr (T::HIGH == 8) q |= two_bits(s.high, w) << next;
  return q;
}

// Four bytes of a table of 16, by four codes: two selections of one in eight, then the fourth bit chooses.
__device__ __forceinline__ u32 look_up(u32 codes, u32 t0, u32 t1, u32 t2, u32 t3) {
  u32 selector = codes & 0x07070707u;
  selector = (selector | selector >> 4) & 0x00ff00ffu;
  selector = (selector | selector >> 8) & 0xffffu;
  const u32 below = __byte_perm(t0, t1, selector), above = __byte_perm(t2, t3, selector);
  const u32 mask = ((codes & 0x08080808u) >> 3) * 0xffu;
  return (below & ~mask) | (above & mask);
}
