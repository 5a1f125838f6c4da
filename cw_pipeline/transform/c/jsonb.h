/* Any JSON as jsonb takes it: printed as Python prints what it has read, members sorted. */

#ifndef CW_JSONB_H
#define CW_JSONB_H

#include "buffer.h"
#include "json.h"
#include "wire.h"

enum {
    MOST_MEMBERS = 64, /* of an object; one with more is left to Python */
    JSONB_VERSION = 1
};

/* A number in JSON as Python's `int` and `Decimal` would print it: only where that is as it came. */
static inline bool put_json_number(struct text *text, struct buffer *out)
{
    struct number number;
    const unsigned char *begin = text->at;
    if (!read_number(text, &number) || number.has_exponent || number.whole_digits > SURE_DIGITS ||
        number.part_digits > MOST_DIGITS)
        return false;
    bool tiny = *number.whole == '0' && number.part_digits >= 6 &&
                memcmp(number.part, "000000", 6) == 0; /* printed as 1E-7 */
    if (tiny || (!number.part && number.negative && *number.whole == '0'))
        return false;
    put(out, begin, (size_t)(text->at - begin));
    return true;
}

static inline bool put_json_string(struct text *text, struct buffer *out, struct string *string)
{
    const unsigned char *begin = text->at;
    if (!read_string(text, string) || string->escaped)
        return false;
    put(out, begin, string->size + 2);
    return true;
}

/* A member of an object, as it stands in a buffer: key, colon, value and comma. */
struct member {
    struct string key;
    int64_t begin, size;
};

static inline int in_order(const struct member *before, const struct member *member)
{
    const struct string *one = &before->key, *other = &member->key;
    int order = memcmp(one->at, other->at, one->size < other->size ? one->size : other->size);
    return order ? order : (one->size > other->size) - (one->size < other->size);
}

/* Puts the members at the end of the buffer into the order of their keys, as Python sorts them.
   False if two have the same. */
static inline bool sort_members(struct buffer *out, struct member *members, int count)
{
    int64_t begin = members[0].begin, end = out->size;
    for (int i = 1; i < count; i++)
        for (int k = i; k > 0 && in_order(&members[k - 1], &members[k]) >= 0; k--) {
            if (in_order(&members[k - 1], &members[k]) == 0)
                return false;
            struct member later = members[k - 1];
            members[k - 1] = members[k];
            members[k] = later;
        }
    if (!has_room(out, end - begin))
        return false;
    for (int i = 0; i < count; i++)
        put(out, out->data + members[i].begin, (size_t)members[i].size);
    memmove(out->data + begin, out->data + end, (size_t)(end - begin));
    out->size = end;
    return true;
}

static bool put_json(struct text *text, struct buffer *out, int depth);

/* The members of an object or the values of an array, which has begun. */
static bool put_members(struct text *text, struct buffer *out, int depth, bool named)
{
    unsigned char end = named ? '}' : ']';
    struct member members[MOST_MEMBERS];
    bool sorted = true;
    int count = 0;
    put_byte(out, *text->at++);
    if (take(text, end)) {
        put_byte(out, end);
        return true;
    }
    do {
        struct member *member = &members[named ? count++ : 0];
        member->begin = out->size;
        skip_blanks(text);
        if (named && !(put_json_string(text, out, &member->key) && take(text, ':')))
            return false;
        if (named)
            put_byte(out, ':');
        if (!put_json(text, out, depth + 1))
            return false;
        put_byte(out, ',');
        member->size = out->size - member->begin;
        sorted = sorted && (count < 2 || in_order(member - 1, member) < 0);
    } while (count < MOST_MEMBERS && take(text, ','));
    if (!take(text, end) || (!sorted && !sort_members(out, members, count)) || out->failed)
        return false;
    out->data[out->size - 1] = end; /* in the place of the last comma */
    return true;
}

/* Any JSON, without blanks. */
static bool put_json(struct text *text, struct buffer *out, int depth)
{
    struct string string;
    const unsigned char *begin;
    skip_blanks(text);
    begin = text->at;
    if (begin == text->end)
        return false;
    switch (*begin) {
    case '"':
        return put_json_string(text, out, &string);
    case '{':
    case '[':
        return depth < DEEPEST && put_members(text, out, depth, *begin == '{');
    case 't':
    case 'f':
    case 'n':
        if (!skip_scalar(text))
            return false;
        put(out, begin, (size_t)(text->at - begin));
        return true;
    default:
        return put_json_number(text, out);
    }
}

static inline bool put_jsonb(struct text *text, struct buffer *out)
{
    put_byte(out, JSONB_VERSION);
    return put_json(text, out, 0);
}

#endif
