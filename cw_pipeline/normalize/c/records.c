/* The records of a page as rows of a binary COPY, made by a plan of their entity.

   A record is taken whole or refused whole: whatever is not as the plan says, Python reads in its
   own way (`mend.py`). Nothing here knows Python, so a page is read without its lock.
 */

#include "hash.h"
#include "wire.h"

enum kind { BIGINT, NUMERIC, BOOLEAN, TIMESTAMPTZ, DATE, TEXT, JSONB, OBJECT, ARRAY, EXTRA, LINK };
enum outcome { DONE, REFUSED, BROKEN, NO_MEMORY };

struct field {
    int32_t key, size; /* in the plan's names */
    int32_t kind;
    int32_t target; /* column, object, array or extra: by its kind */
};

struct object {
    int32_t first, count; /* of its fields */
    int32_t closed;       /* whether a field that is not among them makes the record be refused */
    int32_t extra, extras;
};

/* A field of `_extra`: one that the catalog does not know, or an object that may hold some. */
struct extra {
    int32_t key, size;
    int32_t object; /* -1: a value */
    int32_t slot;
};

struct table {
    int32_t object, columns;
};

struct plan {
    const unsigned char *names;
    const struct field *fields;
    const struct object *objects;
    const struct extra *extras;
    const struct table *tables; /* of the record itself, then of each of its arrays */
    int32_t field_count, array_count, most_columns, most_extras;
    int32_t id, stamp; /* columns; -1: none */
    int32_t keys;      /* bigints before the record's own columns */
};

struct cell {
    int64_t at, size; /* in the scratch; size -1: null */
    int64_t value;    /* of a bigint or an instant */
};

static const int64_t NULL_STAMP = INT64_MIN;
static const int32_t NULL_SIZE = -1;

/* What is told of a record; behind it the end of its rows in each table. */
struct facts {
    int64_t begin, end; /* in the body */
    int64_t id, stamp;
    int64_t source, hash; /* of it as it came, and of its rows */
};

/* What one call works with: a record after the other in the same memory. */
struct bench {
    const struct plan *plan;
    const uint64_t *seed; /* of the hash of a record as it came; NULL: none is wanted */
    struct cell *cells;
    unsigned char *seen;
    const unsigned char **arrays, **extras;
    struct buffer scratch, hashed;
    bool odd; /* a value of `_extra` is none that this writes as Python does */
};

static bool read_object(struct bench *bench, struct text *text, int32_t object);

static bool put_value(struct text *text, struct buffer *out, int32_t kind, int64_t *value)
{
    switch (kind) {
    case BIGINT:
        return put_bigint(text, out, value);
    case NUMERIC:
        return put_numeric(text, out);
    case BOOLEAN:
        return put_boolean(text, out);
    case TIMESTAMPTZ:
        return put_timestamptz(text, out, value);
    case DATE:
        return put_date(text, out);
    case TEXT:
        return put_text(text, out);
    case JSONB:
        return put_jsonb(text, out);
    default:
        return false;
    }
}

static bool read_field(struct bench *bench, struct text *text, const struct field *field)
{
    unsigned char *seen = &bench->seen[field - bench->plan->fields];
    skip_blanks(text);
    if (*seen)
        return false; /* twice; the last one would count */
    *seen = 1;
    if (field->kind == LINK)
        return skip_value(text, 0);
    if (take_word(text, "null", 4))
        return true;
    switch (field->kind) {
    case OBJECT:
        return read_object(bench, text, field->target);
    case ARRAY:
        bench->arrays[field->target] = text->at;
        return sees(text, '[') && skip_value(text, 0);
    case EXTRA:
        bench->extras[field->target] = text->at;
        return skip_value(text, 0);
    default:
        break;
    }
    struct cell *cell = &bench->cells[field->target];
    cell->at = bench->scratch.size;
    if (!put_value(text, &bench->scratch, field->kind, &cell->value))
        return false;
    cell->size = bench->scratch.size - cell->at;
    return true;
}

/* The field of this key. It is looked for where the last one was found: a list's records have
   their fields in one order. */
static const struct field *find(const struct plan *plan, const struct object *object,
                                const struct string *key, int32_t *next)
{
    for (int32_t tried = 0; tried < object->count; tried++) {
        const struct field *field = &plan->fields[object->first + *next];
        *next = *next + 1 == object->count ? 0 : *next + 1;
        if ((size_t)field->size == key->size &&
            memcmp(plan->names + field->key, key->at, key->size) == 0)
            return field;
    }
    return NULL;
}

static bool read_object(struct bench *bench, struct text *text, int32_t number)
{
    const struct object *object = &bench->plan->objects[number];
    struct string key;
    int32_t next = 0;
    if (!take(text, '{'))
        return false;
    if (take(text, '}'))
        return true;
    do {
        skip_blanks(text);
        if (!read_string(text, &key) || key.escaped || !take(text, ':'))
            return false;
        const struct field *field = find(bench->plan, object, &key, &next);
        if (field ? !read_field(bench, text, field) : object->closed || !skip_value(text, 0))
            return false;
    } while (take(text, ','));
    return take(text, '}');
}

static bool put_extras(struct bench *bench, const unsigned char *end, int32_t object);

/* Appends a field of `_extra`. False if the record has nothing there. */
static bool put_extra(struct bench *bench, const unsigned char *end, const struct extra *extra)
{
    struct buffer *out = &bench->scratch;
    put_byte(out, '"');
    put(out, bench->plan->names + extra->key, (size_t)extra->size);
    put(out, "\":", 2);
    if (extra->object >= 0)
        return put_extras(bench, end, extra->object);
    struct text value = {bench->extras[extra->slot], end};
    if (value.at == NULL)
        return false;
    bench->odd |= !put_json(&value, out, 0);
    return true;
}

/* The values that the catalog does not know, as one JSON object. False if there is none. */
static bool put_extras(struct bench *bench, const unsigned char *end, int32_t number)
{
    const struct object *object = &bench->plan->objects[number];
    struct buffer *out = &bench->scratch;
    int64_t begin = out->size;
    for (int32_t i = object->extra; i < object->extra + object->extras; i++) {
        int64_t before = out->size;
        put_byte(out, before == begin ? '{' : ',');
        if (!put_extra(bench, end, &bench->plan->extras[i]))
            out->size = before;
    }
    if (out->size == begin)
        return false;
    put_byte(out, '}');
    return true;
}

static void put_cell(const struct bench *bench, const struct cell *cell, struct buffer *out)
{
    put_32(out, (int32_t)cell->size);
    if (cell->size > 0)
        put(out, bench->scratch.data + cell->at, (size_t)cell->size);
}

static void put_number(struct buffer *out, int64_t number)
{
    put_32(out, 8);
    put_64(out, number);
}

/* Reads an object and leaves its values in the cells, the last of them its extra ones. */
static bool read_row(struct bench *bench, struct text *text, const struct table *table)
{
    const struct plan *plan = bench->plan;
    bench->scratch.size = 0;
    bench->odd = false;
    memset(bench->seen, 0, (size_t)plan->field_count);
    memset(bench->extras, 0, (size_t)plan->most_extras * sizeof *bench->extras);
    for (int32_t i = 0; i <= table->columns; i++)
        bench->cells[i].size = NULL_SIZE;
    skip_blanks(text);
    if (!read_object(bench, text, table->object))
        return false;
    struct cell *extra = &bench->cells[table->columns];
    extra->at = bench->scratch.size;
    put_byte(&bench->scratch, JSONB_VERSION);
    if (put_extras(bench, text->end, table->object))
        extra->size = bench->scratch.size - extra->at;
    return !bench->odd && !bench->scratch.failed;
}

/* What a table's buffer holds from `begin` on. */
static void put_again(struct buffer *out, const struct buffer *rows, int64_t begin)
{
    if (!rows->failed)
        put(out, rows->data + begin, (size_t)(rows->size - begin));
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
        for (int32_t i = 0; i <= table->columns; i++)
            put_cell(bench, &bench->cells[i], rows);
        put_again(&bench->hashed, rows, begin);
    } while (take(&text, ','));
    return take(&text, ']');
}

/* The record's own row, but for its hashes, which are of what its arrays hold, too. */
static void put_record(struct bench *bench, const int64_t *keys, struct buffer *rows)
{
    const struct plan *plan = bench->plan;
    int32_t columns = plan->tables[0].columns;
    put_16(rows, (unsigned)(plan->keys + columns + 3));
    for (int32_t i = 0; i < plan->keys; i++)
        put_number(rows, keys[i]);
    int64_t begin = rows->size;
    for (int32_t i = 0; i <= columns; i++)
        put_cell(bench, &bench->cells[i], rows);
    put_again(&bench->hashed, rows, begin);
}

/* Those of the record as it came and of its rows, bound to each other (see `page.py`). */
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

/* Reads one record into `made`: facts, then rows of each table. */
static bool read_record(struct bench *bench, struct text *text, const unsigned char *body,
                        const int64_t *keys, struct buffer *made)
{
    const struct plan *plan = bench->plan;
    const unsigned char *begin = text->at;
    struct buffer *tables = &made[1], *hashed = &bench->hashed;
    hashed->size = 0;
    memset(bench->arrays, 0, (size_t)plan->array_count * sizeof *bench->arrays);
    if (!read_row(bench, text, &plan->tables[0]))
        return false;
    if (plan->id >= 0 && bench->cells[plan->id].size < 0)
        return false; /* nothing could refer to it */
    bool stamped = plan->stamp >= 0 && bench->cells[plan->stamp].size >= 0;
    struct facts facts = {
        .begin = begin - body,
        .end = text->at - body,
        .id = plan->id >= 0 ? bench->cells[plan->id].value : keys[plan->keys - 1],
        .stamp = stamped ? bench->cells[plan->stamp].value : NULL_STAMP,
        .source = bench->seed ? signed_hash(begin, text->at - begin, *bench->seed) : 0,
    };
    put_record(bench, keys, &tables[0]);
    for (int32_t i = 0; i < plan->array_count; i++) {
        put_byte(hashed, '|');
        if (bench->arrays[i] && !put_elements(bench, bench->arrays[i], text->end,
                                              &plan->tables[i + 1], facts.id, &tables[i + 1]))
            return false;
    }
    facts.hash = signed_hash(hashed->data, hashed->size, 0);
    put_hashes(&tables[0], &facts, bench->seed != NULL);
    put(&made[0], &facts, sizeof facts);
    for (int32_t i = 0; i <= plan->array_count; i++)
        put(&made[0], &tables[i].size, sizeof tables[i].size);
    return true;
}

static void *zeros(int32_t count, size_t size)
{
    return calloc((size_t)count + 1, size); /* never of 0 bytes, which may be no memory at all */
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

static bool any_failed(const struct buffer *made, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        if (made[i].failed)
            return true;
    return false;
}

/* A record that was refused leaves nothing behind. */
static enum outcome refuse(const struct plan *plan, struct text *text, struct buffer *made,
                           const int64_t *sizes)
{
    for (int32_t i = 0; i < plan->array_count + 2; i++)
        made[i].size = sizes[i];
    return skip_value(text, 0) ? REFUSED : BROKEN;
}

static enum outcome read_all(struct bench *bench, struct text *text, const unsigned char *body,
                             int64_t *keys, struct buffer *made, int64_t *sizes,
                             const unsigned char **begin)
{
    const struct plan *plan = bench->plan;
    int32_t buffers = plan->array_count + 2;
    bool is_first = text->at == body;
    if (is_first && !take(text, '['))
        return BROKEN;
    bool is_empty = is_first && take(text, ']');
    while (!is_empty && (is_first || take(text, ','))) {
        is_first = false;
        skip_blanks(text);
        *begin = text->at;
        for (int32_t i = 0; i < buffers; i++)
            sizes[i] = made[i].size;
        bool taken = read_record(bench, text, body, keys, made);
        if (bench->scratch.failed || bench->hashed.failed || any_failed(made, buffers))
            return NO_MEMORY;
        if (!taken) {
            text->at = *begin;
            return refuse(plan, text, made, sizes);
        }
        if (plan->id < 0)
            keys[plan->keys - 1]++; /* the next one's position */
    }
    bool is_closed = is_empty || take(text, ']');
    skip_blanks(text);
    return is_closed && text->at == text->end ? DONE : BROKEN;
}

/* Reads the records of a body from `span[0]` on, until one is refused: then that is `span`.

   `keys` are the bigints before a record's own columns, the last one its position where it has no
   id; `seed` is that of the records' hashes as they came, NULL if those are not wanted. `made` has
   buffers for facts and for the rows of each table. */
int read_records(const struct plan *plan, const uint64_t *seed, const unsigned char *body,
                 int64_t length, int64_t *span, int64_t *keys, struct buffer *made)
{
    struct bench bench;
    struct text text = {body + span[0], body + length};
    const unsigned char *begin = text.at;
    int64_t *sizes = zeros(plan->array_count + 2, sizeof *sizes);
    enum outcome outcome = NO_MEMORY;
    if (set_up(&bench, plan, seed) && sizes)
        outcome = read_all(&bench, &text, body, keys, made, sizes, &begin);
    span[0] = begin - body;
    span[1] = text.at - body;
    free(sizes);
    clear_up(&bench);
    return (int)outcome;
}

/* Gives back what `read_records` has made. */
void give_back(struct buffer *made, int count)
{
    for (int i = 0; i < count; i++)
        free(made[i].data);
}
