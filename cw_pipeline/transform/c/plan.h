/* What `compiled.py` tells of an entity's records. */

#ifndef CW_PLAN_H
#define CW_PLAN_H

#include <stdint.h>

enum kind { BIGINT, NUMERIC, BOOLEAN, TIMESTAMPTZ, DATE, TEXT, JSONB, OBJECT, ARRAY, EXTRA, LINK };

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

#endif
