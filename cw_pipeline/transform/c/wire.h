/* JSON values as Postgres' binary COPY takes them; the same bytes as `transform/copy_format.py` makes.

   Each `put_…` reads the value that comes next and appends it. False: refused, and left to Python.
 */

#ifndef CW_WIRE_H
#define CW_WIRE_H

#include "buffer.h"
#include "json.h"

enum {
    MOST_DIGITS = 200, /* of a number; Python packs longer ones */
    SURE_DIGITS = 18,  /* of an integer that fits into 64 bits for certain */
    UNIX_TO_2000 = 10957 /* days; Postgres counts from 2000-01-01 */
};

static inline bool put_bigint(struct text *text, struct buffer *out, int64_t *value)
{
    struct number number;
    if (!read_number(text, &number) || number.part || number.has_exponent ||
        number.whole_digits > SURE_DIGITS || (number.negative && *number.whole == '0'))
        return false;
    *value = 0;
    for (size_t i = 0; i < number.whole_digits; i++)
        *value = *value * 10 + (number.whole[i] - '0');
    if (number.negative)
        *value = -*value;
    put_64(out, *value);
    return true;
}

/* Four digits of a number, the first of them `first` behind the point, or before it if negative. */
static inline int digit_group(const struct number *number, long first)
{
    int group = 0;
    for (long place = first; place < first + 4; place++) {
        long before = place + (long)number->whole_digits;
        int digit = 0;
        if (place < 0 && before >= 0)
            digit = number->whole[before] - '0';
        else if (place >= 0 && place < (long)number->part_digits)
            digit = number->part[place] - '0';
        group = group * 10 + digit;
    }
    return group;
}

/* Groups of four digits, counted from the point (PostgreSQL's `numeric_recv`). */
static inline bool put_numeric(struct text *text, struct buffer *out)
{
    struct number number;
    if (!read_number(text, &number) || number.has_exponent ||
        number.whole_digits + number.part_digits > MOST_DIGITS)
        return false;
    long first = -(long)((number.whole_digits + 3) / 4), end = (long)((number.part_digits + 3) / 4);
    while (first < end && digit_group(&number, 4 * first) == 0)
        first++;
    while (first < end && digit_group(&number, 4 * (end - 1)) == 0)
        end--;
    bool zero = first == end;
    put_16(out, (unsigned)(end - first));
    put_16(out, zero ? 0 : (unsigned)(-first - 1));
    put_16(out, number.negative && !zero ? 0x4000 : 0);
    put_16(out, (unsigned)number.part_digits);
    for (long group = first; group < end; group++)
        put_16(out, (unsigned)digit_group(&number, 4 * group));
    return true;
}

static inline bool put_boolean(struct text *text, struct buffer *out)
{
    bool is_true = take_word(text, "true", 4);
    put_byte(out, is_true);
    return is_true || take_word(text, "false", 5);
}

/* So many digits as a number; -1 if they are not all digits. */
static inline int read_digits(const unsigned char *at, int count)
{
    int value = 0;
    for (int i = 0; i < count; i++) {
        if (!is_digit(at[i]))
            return -1;
        value = value * 10 + (at[i] - '0');
    }
    return value;
}

/* The days from 2000-01-01 to `YYYY-MM-DD` in the Gregorian calendar. */
static inline bool read_day(const unsigned char *at, int32_t *days)
{
    static const unsigned char lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year = read_digits(at, 4), month = read_digits(at + 5, 2), day = read_digits(at + 8, 2);
    if (at[4] != '-' || at[7] != '-' || year < 1 || month < 1 || month > 12 || day < 1)
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > lengths[month - 1] + (month == 2 && leap))
        return false;
    /* Counted in years from March on, so that a leap day is the last of its year. */
    int from_march = (month + 9) % 12, years = year - (month < 3);
    int before = 365 * years + years / 4 - years / 100 + years / 400;
    *days = before + (153 * from_march + 2) / 5 + day - 1 - 719468 - UNIX_TO_2000;
    return true;
}

/* Microseconds from 2000-01-01 UTC to `YYYY-MM-DDTHH:MM:SSZ`, with up to six digits behind the
   seconds. */
static inline bool read_instant(const struct string *string, int64_t *instant)
{
    const unsigned char *at = string->at;
    int32_t days;
    if (string->size < 20 || string->size > 27 || at[string->size - 1] != 'Z' || at[10] != 'T' ||
        at[13] != ':' || at[16] != ':' || !read_day(at, &days))
        return false;
    int hour = read_digits(at + 11, 2), minute = read_digits(at + 14, 2);
    int second = read_digits(at + 17, 2), digits = (int)string->size - 21, part = 0;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59)
        return false;
    if (string->size > 20) {
        part = digits > 0 && at[19] == '.' ? read_digits(at + 20, digits) : -1;
        for (; digits < 6; digits++)
            part *= 10;
    }
    *instant = (((int64_t)days * 24 + hour) * 60 + minute) * 60 + second;
    *instant = *instant * 1000000 + part;
    return part >= 0;
}

static inline bool put_timestamptz(struct text *text, struct buffer *out, int64_t *value)
{
    struct string string;
    if (!read_string(text, &string) || !read_instant(&string, value))
        return false;
    put_64(out, *value);
    return true;
}

/* A day without a time of day; Python keeps what has one. */
static inline bool put_date(struct text *text, struct buffer *out)
{
    struct string string;
    int32_t days;
    if (!read_string(text, &string) || string.size < 10 || !read_day(string.at, &days))
        return false;
    if (string.size != 10 &&
        (string.size != 20 || memcmp(string.at + 10, "T00:00:00Z", 10) != 0))
        return false;
    put_32(out, days);
    return true;
}

static inline void put_utf8(struct buffer *out, uint32_t code)
{
    if (code < 0x80) {
        put_byte(out, code);
        return;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned first[] = {0, 0xC0, 0xE0, 0xF0};
    put_byte(out, first[more] | code >> (6 * more));
    while (more-- > 0)
        put_byte(out, 0x80 | (code >> (6 * more) & 0x3F));
}

/* What the escape of `size` bytes here stands for. */
static inline uint32_t read_escape(const unsigned char *at, size_t size)
{
    static const char letters[] = "bfnrt", meant[] = "\b\f\n\r\t";
    const unsigned char *end = at + size;
    if (size == 2) {
        const char *letter = memchr(letters, at[1], 5);
        return letter ? (unsigned char)meant[letter - letters] : at[1];
    }
    uint32_t code = (uint32_t)escaped_code(at, end);
    if (size == 6)
        return code;
    uint32_t low = (uint32_t)escaped_code(at + 6, end);
    return 0x10000 + ((code - 0xD800) << 10) + low - 0xDC00;
}

static inline bool put_text(struct text *text, struct buffer *out)
{
    struct string string;
    if (!read_string(text, &string))
        return false;
    if (!string.escaped) {
        put(out, string.at, string.size);
        return true;
    }
    const unsigned char *at = string.at, *end = at + string.size;
    while (at < end) {
        const unsigned char *escape = memchr(at, '\\', (size_t)(end - at));
        const unsigned char *plain = escape ? escape : end;
        put(out, at, (size_t)(plain - at));
        if (plain == end)
            break;
        size_t size = escape_size(plain, end);
        put_utf8(out, read_escape(plain, size));
        at = plain + size;
    }
    return true;
}

#endif
