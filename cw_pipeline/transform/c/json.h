/* JSON text, read strictly (RFC 8259): what is refused here is left to Python, whole. */

#ifndef CW_JSON_H
#define CW_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    DEEPEST = 32 /* levels of a value; on a small stack, as a thread may have, more would crash */
};

struct text {
    const unsigned char *at, *end;
};

/* The inside of a string, as it stands in the text. */
struct string {
    const unsigned char *at;
    size_t size;
    bool escaped;
};

/* A number's parts, as they stand in the text. */
struct number {
    const unsigned char *whole, *part;
    size_t whole_digits, part_digits;
    bool negative, has_exponent;
};

static inline void skip_blanks(struct text *text)
{
    while (text->at < text->end &&
           (*text->at == ' ' || *text->at == '\n' || *text->at == '\r' || *text->at == '\t'))
        text->at++;
}

static inline bool sees(const struct text *text, unsigned char wanted)
{
    return text->at < text->end && *text->at == wanted;
}

/* Takes the character that comes next after blanks, if it is the one wanted. */
static inline bool take(struct text *text, unsigned char wanted)
{
    skip_blanks(text);
    if (!sees(text, wanted))
        return false;
    text->at++;
    return true;
}

static inline bool take_word(struct text *text, const char *word, size_t size)
{
    if ((size_t)(text->end - text->at) < size || memcmp(text->at, word, size) != 0)
        return false;
    text->at += size;
    return true;
}

static inline bool is_digit(unsigned char one)
{
    return one >= '0' && one <= '9';
}

/* Where the run of ASCII ends that stands for itself in a string. Eight bytes at a time: most of
   a body is such text. */
static inline const unsigned char *plain_end(const unsigned char *at, const unsigned char *end)
{
    const uint64_t ones = 0x0101010101010101u, tops = ones << 7;
    for (; end - at >= 8; at += 8) {
        uint64_t eight;
        memcpy(&eight, at, 8);
        uint64_t quote = eight ^ (ones * '"'), escape = eight ^ (ones * '\\');
        uint64_t found = ((quote - ones) & ~quote) | ((escape - ones) & ~escape) |
                         ((eight - ones * ' ') & ~eight) | eight;
        if (found & tops)
            break;
    }
    while (at < end && *at >= ' ' && *at < 0x80 && *at != '"' && *at != '\\')
        at++;
    return at;
}

/* How many bytes the UTF-8 sequence here has; 0 if it is none (RFC 3629). */
static inline size_t utf8_size(const unsigned char *at, const unsigned char *end)
{
    size_t size = *at >= 0xF0 ? 4 : *at >= 0xE0 ? 3 : 2;
    if (*at < 0xC2 || *at > 0xF4 || (size_t)(end - at) < size)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    bool too_long = (*at == 0xE0 && at[1] < 0xA0) || (*at == 0xF0 && at[1] < 0x90);
    bool surrogate = *at == 0xED && at[1] > 0x9F, too_high = *at == 0xF4 && at[1] > 0x8F;
    return too_long || surrogate || too_high ? 0 : size;
}

static inline int hex_digit(unsigned char one)
{
    if (is_digit(one))
        return one - '0';
    one |= 0x20;
    return one >= 'a' && one <= 'f' ? one - 'a' + 10 : -1;
}

/* The code in the escape `\uXXXX` here; -1 if it is none. */
static inline int32_t escaped_code(const unsigned char *at, const unsigned char *end)
{
    int32_t code = 0;
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return -1;
        code = code * 16 + digit;
    }
    return code;
}

/* How many bytes the escape here has, pairs of surrogates together; 0 if it is none, or one that
   Postgres does not take: a NUL, or half a pair. */
static inline size_t escape_size(const unsigned char *at, const unsigned char *end)
{
    if (end - at < 2)
        return 0;
    if (at[1] != 'u')
        return memchr("\"\\/bfnrt", at[1], 8) ? 2 : 0;
    int32_t code = escaped_code(at, end);
    if (code < 0xD800 || code > 0xDFFF)
        return code > 0 ? 6 : 0;
    int32_t low = escaped_code(at + 6, end);
    return code < 0xDC00 && low >= 0xDC00 && low <= 0xDFFF ? 12 : 0;
}

static inline bool read_string(struct text *text, struct string *string)
{
    if (!sees(text, '"'))
        return false;
    const unsigned char *at = text->at + 1;
    *string = (struct string){at, 0, false};
    for (;;) {
        at = plain_end(at, text->end);
        if (at == text->end || *at < ' ')
            return false;
        if (*at == '"')
            break;
        size_t size = *at == '\\' ? escape_size(at, text->end) : utf8_size(at, text->end);
        if (size == 0)
            return false;
        string->escaped |= *at == '\\';
        at += size;
    }
    string->size = (size_t)(at - string->at);
    text->at = at + 1;
    return true;
}

static inline size_t take_digits(struct text *text)
{
    const unsigned char *begin = text->at;
    while (text->at < text->end && is_digit(*text->at))
        text->at++;
    return (size_t)(text->at - begin);
}

static inline bool read_number(struct text *text, struct number *number)
{
    *number = (struct number){0};
    number->negative = take_word(text, "-", 1);
    number->whole = text->at;
    number->whole_digits = take_digits(text);
    if (number->whole_digits == 0 || (number->whole_digits > 1 && *number->whole == '0'))
        return false;
    if (take_word(text, ".", 1)) {
        number->part = text->at;
        number->part_digits = take_digits(text);
        if (number->part_digits == 0)
            return false;
    }
    if (sees(text, 'e') || sees(text, 'E')) {
        text->at++;
        number->has_exponent = true;
        if (sees(text, '+') || sees(text, '-'))
            text->at++;
        return take_digits(text) > 0;
    }
    return true;
}

static inline bool skip_scalar(struct text *text)
{
    struct string string;
    struct number number;
    switch (*text->at) {
    case '"':
        return read_string(text, &string);
    case 't':
        return take_word(text, "true", 4);
    case 'f':
        return take_word(text, "false", 5);
    case 'n':
        return take_word(text, "null", 4);
    default:
        return read_number(text, &number);
    }
}

static inline bool skip_key(struct text *text)
{
    struct string key;
    skip_blanks(text);
    return read_string(text, &key) && take(text, ':');
}

/* Goes past one value of any kind. False if it is none, or if more than DEEPEST objects and arrays
   are in each other; then `text` stands anywhere. The levels are kept in bits, not by calls of
   itself: a hostile body must not use up the stack. */
static bool skip_value(struct text *text)
{
    uint64_t named = 0; /* a bit a level: whether it is an object */
    int depth = 0;
    for (;;) {
        skip_blanks(text);
        if (text->at == text->end)
            return false;
        unsigned char first = *text->at;
        bool is_object = first == '{';
        if (is_object || first == '[') {
            if (depth == DEEPEST)
                return false;
            uint64_t bit = (uint64_t)1 << depth;
            named = is_object ? named | bit : named & ~bit;
            text->at++;
            if (!take(text, is_object ? '}' : ']')) {
                depth++;
                if (is_object && !skip_key(text))
                    return false;
                continue;
            }
        } else if (!skip_scalar(text)) {
            return false;
        }
        for (; depth > 0; depth--) {
            is_object = named >> (depth - 1) & 1;
            if (take(text, ','))
                break;
            if (!take(text, is_object ? '}' : ']'))
                return false;
        }
        if (depth == 0)
            return true;
        if (is_object && !skip_key(text))
            return false;
    }
}

/* Goes past an object or array by its brackets alone, however deep and whatever its values are:
   Python says what is wrong with them. False if it does not end. */
static bool skip_brackets(struct text *text)
{
    int64_t depth = 0;
    bool quoted = false;
    for (; text->at < text->end; text->at++) {
        unsigned char one = *text->at;
        if (quoted) {
            if (one == '\\' && text->at + 1 < text->end)
                text->at++;
            quoted = one != '"';
            continue;
        }
        quoted = one == '"';
        depth += (one == '{' || one == '[') - (one == '}' || one == ']');
        if (depth == 0) {
            text->at++;
            return one == '}' || one == ']';
        }
    }
    return false;
}

#endif
