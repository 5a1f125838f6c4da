/* One JSON object as the cells of a row, by its plan. */

#ifndef CW_ROW_H
#define CW_ROW_H

#include "jsonb.h"
#include "plan.h"
#include "wire.h"

struct cell {
    int64_t at, size; /* in the scratch; size -1: null */
    int64_t value;    /* of a bigint or an instant */
};

static const int32_t NULL_SIZE = -1;

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
        return skip_value(text);
    if (take_word(text, "null", 4))
        return true;
    switch (field->kind) {
    case OBJECT:
        return read_object(bench, text, field->target);
    case ARRAY:
        bench->arrays[field->target] = text->at;
        return sees(text, '[') && skip_value(text);
    case EXTRA:
        bench->extras[field->target] = text->at;
        return skip_value(text);
    default:
        break;
    }
    struct cell *cell = &bench->cells[field->target], before = *cell;
    cell->at = bench->scratch.size;
    if (!put_value(text, &bench->scratch, field->kind, &cell->value) || bench->scratch.failed)
        return false;
    cell->size = bench->scratch.size - cell->at;
    /* Of a fact that has two places, both must say the same: else Python keeps what differs. */
    return before.size < 0 ||
           (before.size == cell->size &&
            memcmp(bench->scratch.data + before.at, bench->scratch.data + cell->at,
                   (size_t)cell->size) == 0);
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
        if (field ? !read_field(bench, text, field) : object->closed || !skip_value(text))
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

#endif
