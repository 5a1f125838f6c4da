/* The records of a page as rows of a binary COPY, made by a plan of their entity.

   A record is taken whole or refused whole: whatever is not as the plan says, Python reads in its
   own way (`coerce.py`). Nothing here knows Python, so a page is read without its lock.
 */

#include "hash.h"
#include "row.h"

static const int64_t NULL_STAMP = INT64_MIN;

enum outcome { DONE, REFUSED, BROKEN, NO_MEMORY };

/* What is told of a record; behind it the end of its rows in each table. */
struct facts {
    int64_t begin, end; /* in the body */
    int64_t id, stamp;
    int64_t source, hash; /* of it as it came, and of its rows */
};

/* What Python and this must have the same sizes of (`compiled.py`). */
const int64_t struct_sizes[] = {sizeof(struct plan),   sizeof(struct buffer), sizeof(struct facts),
                                sizeof(struct field),  sizeof(struct object), sizeof(struct extra),
                                sizeof(struct table)};

/* A page that is being read. */
struct page {
    struct bench bench;
    struct text text;
    const unsigned char *body, *record; /* where they begin */
    int64_t *keys, *sizes;              /* `sizes` of what was made before this record */
    struct buffer *made;                /* facts, then the rows of each table */
    int32_t buffers;
};

/* Appends the cells to the row, whose bytes from `begin` on are to be hashed. */
static void put_cells(struct bench *bench, const struct table *table, struct buffer *rows,
                      int64_t begin)
{
    for (int32_t i = 0; i <= table->columns; i++)
        put_cell(bench, &bench->cells[i], rows);
    if (!rows->failed)
        put(&bench->hashed, rows->data + begin, (size_t)(rows->size - begin));
}

static bool put_elements(struct bench *bench, const unsigned char *array,
                         const unsigned char *end, const struct table *table, int64_t parent,
                         struct buffer *rows)
{
    struct text text = {array, end};
    text.at++;
    if (take(&text, ']'))
        return true;
    int64_t position = 0;
    do {
        if (!read_row(bench, &text, table))
            return false;
        put_16(rows, (unsigned)table->columns + 3);
        put_number(rows, parent);
        int64_t begin = rows->size;
        put_number(rows, position++);
        put_cells(bench, table, rows, begin);
    } while (take(&text, ','));
    return take(&text, ']');
}

/* The record's own row, but for its hashes, which are of what its arrays hold, too. */
static void put_record(struct bench *bench, const int64_t *keys, struct buffer *rows)
{
    const struct plan *plan = bench->plan;
    put_16(rows, (unsigned)(plan->keys + plan->tables[0].columns + 3));
    for (int32_t i = 0; i < plan->keys; i++)
        put_number(rows, keys[i]);
    put_cells(bench, &plan->tables[0], rows, rows->size);
}

/* Those of the record as it came and of its rows, bound to each other (see `batch_builder.py`). */
static void put_hashes(struct buffer *rows, const struct facts *facts, bool sourced)
{
    if (sourced)
        put_number(rows, facts->source ^ facts->hash);
    else
        put_32(rows, NULL_SIZE);
    put_number(rows, facts->hash);
}

/* A hash as a bigint, which has a sign. */
static int64_t signed_hash(const unsigned char *data, int64_t size, uint64_t seed)
{
    return (int64_t)(hash_of(data, (size_t)size, seed) ^ ((uint64_t)1 << 63));
}

/* Reads the record that begins here, and makes its facts and its rows. */
static bool read_record(struct page *page)
{
    struct bench *bench = &page->bench;
    const struct plan *plan = bench->plan;
    struct buffer *tables = &page->made[1];
    bench->hashed.size = 0;
    memset(bench->arrays, 0, (size_t)plan->array_count * sizeof *bench->arrays);
    if (!read_row(bench, &page->text, &plan->tables[0]))
        return false;
    if (plan->id >= 0 && bench->cells[plan->id].size < 0)
        return false; /* nothing could refer to it */
    bool stamped = plan->stamp >= 0 && bench->cells[plan->stamp].size >= 0;
    int64_t size = page->text.at - page->record;
    struct facts facts = {
        .begin = page->record - page->body,
        .end = page->text.at - page->body,
        .id = plan->id >= 0 ? bench->cells[plan->id].value : page->keys[plan->keys - 1],
        .stamp = stamped ? bench->cells[plan->stamp].value : NULL_STAMP,
        .source = bench->seed ? signed_hash(page->record, size, *bench->seed) : 0,
    };
    put_record(bench, page->keys, &tables[0]);
    for (int32_t i = 0; i < plan->array_count; i++) {
        put_byte(&bench->hashed, '|');
        if (bench->arrays[i] && !put_elements(bench, bench->arrays[i], page->text.end,
                                              &plan->tables[i + 1], facts.id, &tables[i + 1]))
            return false;
    }
    facts.hash = signed_hash(bench->hashed.data, bench->hashed.size, 0);
    put_hashes(&tables[0], &facts, bench->seed != NULL);
    put(&page->made[0], &facts, sizeof facts);
    for (int32_t i = 0; i <= plan->array_count; i++)
        put(&page->made[0], &tables[i].size, sizeof tables[i].size);
    return true;
}

static bool out_of_memory(const struct page *page)
{
    bool failed = page->bench.scratch.failed || page->bench.hashed.failed;
    for (int32_t i = 0; i < page->buffers; i++)
        failed |= page->made[i].failed;
    return failed;
}

/* A record that is refused leaves nothing behind. */
static enum outcome refuse(struct page *page)
{
    for (int32_t i = 0; i < page->buffers; i++)
        page->made[i].size = page->sizes[i];
    page->text.at = page->record;
    bool is_nested = sees(&page->text, '{') || sees(&page->text, '[');
    return (is_nested ? skip_brackets : skip_value)(&page->text) ? REFUSED : BROKEN;
}

static enum outcome read_page(struct page *page)
{
    const struct plan *plan = page->bench.plan;
    struct text *text = &page->text;
    bool is_first = text->at == page->body;
    if (is_first && !take(text, '['))
        return BROKEN;
    bool is_empty = is_first && take(text, ']');
    while (!is_empty && (is_first || take(text, ','))) {
        is_first = false;
        skip_blanks(text);
        page->record = text->at;
        for (int32_t i = 0; i < page->buffers; i++)
            page->sizes[i] = page->made[i].size;
        bool is_taken = read_record(page);
        if (out_of_memory(page))
            return NO_MEMORY;
        if (!is_taken)
            return refuse(page);
        if (plan->id < 0)
            page->keys[plan->keys - 1]++; /* the next one's position */
    }
    bool is_closed = is_empty || take(text, ']');
    skip_blanks(text);
    return is_closed && text->at == text->end ? DONE : BROKEN;
}

/* Memory for so many, all zero; never for none, which may be no memory at all. */
static void *zeros(int32_t count, size_t size)
{
    return calloc((size_t)count + 1, size);
}

static bool set_up(struct bench *bench, const struct plan *plan, const uint64_t *seed)
{
    *bench = (struct bench){.plan = plan, .seed = seed};
    bench->cells = zeros(plan->most_columns + 1, sizeof *bench->cells);
    bench->seen = zeros(plan->field_count, 1);
    bench->arrays = zeros(plan->array_count, sizeof *bench->arrays);
    bench->extras = zeros(plan->most_extras, sizeof *bench->extras);
    return bench->cells && bench->seen && bench->arrays && bench->extras;
}

static void clear_up(struct bench *bench)
{
    free(bench->cells);
    free(bench->seen);
    free(bench->arrays);
    free(bench->extras);
    free(bench->scratch.data);
    free(bench->hashed.data);
}

/* Reads the records of a body from `span[0]` on, until one is refused: then that is `span`.

   `keys` are the bigints before a record's own columns, the last one its position where it has no
   id; `seed` is that of the records' hashes as they came, NULL if those are not wanted. `made` has
   buffers for facts and for the rows of each table. */
int read_records(const struct plan *plan, const uint64_t *seed, const unsigned char *body,
                 int64_t length, int64_t *span, int64_t *keys, struct buffer *made)
{
    struct page page = {
        .text = {body + span[0], body + length},
        .body = body,
        .record = body + span[0],
        .keys = keys,
        .made = made,
        .buffers = plan->array_count + 2,
    };
    enum outcome outcome = NO_MEMORY;
    page.sizes = zeros(page.buffers, sizeof *page.sizes);
    /* Rows seldom need more room than that, and what is not touched takes no memory. Buffers that
       grew step by step left holes of megabytes behind. */
    for (int32_t i = 0; i <= plan->array_count; i++)
        has_room(&made[i + 1], length - span[0]);
    if (set_up(&page.bench, plan, seed) && page.sizes)
        outcome = read_page(&page);
    span[0] = page.record - body;
    span[1] = page.text.at - body;
    free(page.sizes);
    clear_up(&page.bench);
    return (int)outcome;
}

/* Gives back what `read_records` has made. */
void give_back(struct buffer *made, int count)
{
    for (int i = 0; i < count; i++)
        free(made[i].data);
}
