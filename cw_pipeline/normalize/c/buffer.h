/* Bytes that are appended to, numbers with the highest byte first, as Postgres has them. */

#ifndef CW_BUFFER_H
#define CW_BUFFER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct buffer {
    unsigned char *data;
    int64_t size, room;
    int64_t failed; /* for want of memory: nothing more is appended */
};

static inline bool has_room(struct buffer *buffer, int64_t more)
{
    if (buffer->size + more <= buffer->room)
        return !buffer->failed;
    int64_t room = 2 * (buffer->size + more);
    unsigned char *data = buffer->failed ? NULL : realloc(buffer->data, (size_t)room);
    buffer->failed = data == NULL;
    if (data == NULL)
        return false;
    buffer->data = data;
    buffer->room = room;
    return true;
}

static inline void put(struct buffer *buffer, const void *data, size_t size)
{
    if (size == 0 || !has_room(buffer, (int64_t)size))
        return;
    memcpy(buffer->data + buffer->size, data, size);
    buffer->size += (int64_t)size;
}

static inline void put_byte(struct buffer *buffer, unsigned byte)
{
    unsigned char one = (unsigned char)byte;
    put(buffer, &one, 1);
}

static inline void put_16(struct buffer *buffer, unsigned value)
{
    unsigned char two[] = {(unsigned char)(value >> 8), (unsigned char)value};
    put(buffer, two, 2);
}

static inline void put_32(struct buffer *buffer, int32_t signed_value)
{
    uint32_t value = (uint32_t)signed_value;
    unsigned char four[4];
    for (int i = 0; i < 4; i++)
        four[i] = (unsigned char)(value >> (24 - 8 * i));
    put(buffer, four, 4);
}

static inline void put_64(struct buffer *buffer, int64_t signed_value)
{
    uint64_t value = (uint64_t)signed_value;
    unsigned char eight[8];
    for (int i = 0; i < 8; i++)
        eight[i] = (unsigned char)(value >> (56 - 8 * i));
    put(buffer, eight, 8);
}

#endif
