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

static inline void put_big(struct buffer *buffer, uint64_t value, int bytes)
{
    unsigned char all[8];
    for (int i = 0; i < bytes; i++)
        all[i] = (unsigned char)(value >> (8 * (bytes - 1 - i)));
    put(buffer, all, (size_t)bytes);
}

static inline void put_16(struct buffer *buffer, unsigned value)
{
    put_big(buffer, value, 2);
}

static inline void put_32(struct buffer *buffer, int32_t value)
{
    put_big(buffer, (uint32_t)value, 4);
}

static inline void put_64(struct buffer *buffer, int64_t value)
{
    put_big(buffer, (uint64_t)value, 8);
}

#endif
