/* XXH64, as its specification has it (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md). */

#ifndef CW_HASH_H
#define CW_HASH_H

#include <stddef.h>
#include <stdint.h>

static const uint64_t PRIME_1 = 0x9E3779B185EBCA87u, PRIME_2 = 0xC2B2AE3D27D4EB4Fu,
                      PRIME_3 = 0x165667B19E3779F9u, PRIME_4 = 0x85EBCA77C2B2AE63u,
                      PRIME_5 = 0x27D4EB2F165667C5u;

static inline uint64_t turned(uint64_t value, int bits)
{
    return (value << bits) | (value >> (64 - bits));
}

/* So many bytes as a number, the lowest first. */
static inline uint64_t little(const unsigned char *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static inline uint64_t mixed(uint64_t lane, uint64_t value)
{
    return turned(lane + value * PRIME_2, 31) * PRIME_1;
}

static inline uint64_t hash_of_lanes(const unsigned char **at, const unsigned char *end,
                                     uint64_t seed)
{
    uint64_t lanes[] = {seed + PRIME_1 + PRIME_2, seed + PRIME_2, seed, seed - PRIME_1};
    for (; end - *at >= 32; *at += 32)
        for (int i = 0; i < 4; i++)
            lanes[i] = mixed(lanes[i], little(*at + 8 * i, 8));
    uint64_t hash = turned(lanes[0], 1) + turned(lanes[1], 7) + turned(lanes[2], 12) +
                    turned(lanes[3], 18);
    for (int i = 0; i < 4; i++)
        hash = (hash ^ mixed(0, lanes[i])) * PRIME_1 + PRIME_4;
    return hash;
}

static inline uint64_t hash_of(const unsigned char *at, size_t size, uint64_t seed)
{
    const unsigned char *end = at + size;
    uint64_t hash = size >= 32 ? hash_of_lanes(&at, end, seed) : seed + PRIME_5;
    hash += size;
    for (; end - at >= 8; at += 8)
        hash = turned(hash ^ mixed(0, little(at, 8)), 27) * PRIME_1 + PRIME_4;
    if (end - at >= 4) {
        hash = turned(hash ^ (little(at, 4) * PRIME_1), 23) * PRIME_2 + PRIME_3;
        at += 4;
    }
    for (; at < end; at++)
        hash = turned(hash ^ (*at * PRIME_5), 11) * PRIME_1;
    hash = (hash ^ (hash >> 33)) * PRIME_2;
    hash = (hash ^ (hash >> 29)) * PRIME_3;
    return hash ^ (hash >> 32);
}

#endif
