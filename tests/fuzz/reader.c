/* What the fuzzer calls: a body, read as `compiled.py` reads it, and what must hold of the result.

   The first byte of an input chooses the plan and whether hashes are taken; the rest is the body.
   `plans.h` is written by `tests/fuzz/__main__.py`: the plans of real lists.
 */

#include <stdio.h>

#include "plans.h"
#include "records.c"

enum { MOST_TABLES = 8 };

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

static int64_t big_number(const unsigned char *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return bytes == 2 ? (int16_t)value : bytes == 4 ? (int32_t)value : (int64_t)value;
}

/* A row is so many fields, each of the size that stands before it, and ends where it should. */
static const unsigned char *check_row(const unsigned char *at, const unsigned char *end,
                                      int64_t fields)
{
    must(end - at >= 2 && big_number(at, 2) == fields, "a row has its table's fields");
    at += 2;
    for (int64_t i = 0; i < fields; i++) {
        must(end - at >= 4, "a field has a size");
        int64_t size = big_number(at, 4);
        at += 4;
        must(size >= -1 && size <= end - at, "a field is inside of its row");
        at += size > 0 ? size : 0;
    }
    return at;
}

static void check_rows(const struct plan *plan, const struct buffer *made, int64_t length)
{
    int64_t words = 6 + plan->array_count + 1;
    const int64_t *facts = (const int64_t *)(const void *)made[0].data;
    int64_t records = made[0].size / (8 * words), before = 0;
    must(made[0].size % (8 * words) == 0, "facts are whole");
    for (int64_t i = 0; i < records; i++, facts += words) {
        must(facts[0] >= before && facts[0] < facts[1] && facts[1] <= length,
             "records stand one after the other");
        before = facts[1];
    }
    for (int32_t table = 0; table <= plan->array_count; table++) {
        const unsigned char *at = made[table + 1].data, *end = at + made[table + 1].size;
        int64_t own = plan->tables[table].columns + 3;
        int64_t fields = table == 0 ? own + plan->keys : own;
        if (records == 0) {
            must(at == end, "without records there are no rows");
            continue;
        }
        const int64_t *last = (const int64_t *)(const void *)made[0].data + 6 + table;
        for (int64_t i = 0; i < records; i++, last += words) {
            must(*last <= made[table + 1].size, "a record's rows end inside of the table");
            const unsigned char *until = made[table + 1].data + *last;
            while (at < until)
                at = check_row(at, end, fields);
            must(at == until, "a record's rows end where the next one's begin");
        }
        must(at == end, "there are no rows but the records'");
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *input, size_t size)
{
    if (size == 0)
        return 0;
    const struct plan *plan = PLANS[*input % PLAN_COUNT];
    uint64_t seed = 5, *seeded = *input & 0x80 ? &seed : NULL;
    /* A body of its own, as long as it is: what is read beyond it is seen. */
    int64_t length = (int64_t)size - 1, span[2] = {0, 0};
    unsigned char *body = malloc(size);
    memcpy(body, input + 1, size - 1);
    unsigned char *exact = realloc(body, length ? (size_t)length : 1);
    body = exact ? exact : body;
    int outcome = REFUSED;
    for (int64_t begin = 0; outcome == REFUSED; begin = span[1]) {
        struct buffer made[MOST_TABLES] = {0};
        int64_t keys[4] = {7, 0, 0, 0};
        span[0] = begin;
        outcome = read_records(plan, seeded, body, length, span, keys, made);
        must(outcome != NO_MEMORY, "there is memory");
        must(span[0] >= begin && span[1] <= length, "the span is in the body");
        if (outcome == REFUSED)
            must(span[1] > span[0] && span[1] > begin, "a record that is refused is passed");
        if (outcome != BROKEN)
            check_rows(plan, made, length);
        give_back(made, plan->array_count + 2);
    }
    free(body);
    return 0;
}
