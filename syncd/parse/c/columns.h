/* Columns that grow value by value, laid out as Apache Arrow wants them, and the spellings that values have.

   Everything here either takes a value exactly as `syncd.parse.values` would, or says that it can't: then nothing was
   added, and somebody slower looks at the line. `p` is where to read and `end` where to stop; what reads something
   returns where it ended, NULL for "not plain". */
#ifndef SYNCD_COLUMNS_H
#define SYNCD_COLUMNS_H

#include <stdbool.h>
#include <stdint.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Arrow's buffers are written as the machine holds its numbers: only on little-endian ones"
#endif

enum kind { NOTHING, TEXT, JSON, BOOL, SIGNED, UNSIGNED, DOUBLE, DATE, TIMESTAMP, LIST, STRUCT, GROUP };

/* What ctypes finds; all else is our own, whatever other libraries call theirs. */
#define EXPORTED __attribute__((visibility("default")))

typedef const uint8_t *place;

/* swift.py has the same fields. */
typedef struct column {
    place key; /* as it is meant, not as it is spelled */
    int64_t key_size;
    struct column *inner; /* a list's element, a struct's fields */
    int64_t count;
    int64_t length; /* values so far; a field that lacks is padded later */
    int64_t first;  /* the first value that was read, -1: none */
    int64_t truth;  /* the first true or false among numbers, -1: none */
    int64_t nulls;  /* told at the end */
    int64_t room, text_room;
    int64_t expected; /* values, if it has any */
    uint8_t *valid, *values; /* bits; values, or text */
    int32_t *offsets;        /* of texts and lists */
    int32_t kind, width;     /* width: bytes of a value */
    int32_t quoted;          /* a number may stand in quotes */
    int32_t loose;           /* a truth may be 0 or 1, a small number true or false */
    int32_t blank, odd;      /* CSV: an empty text is no value; a value was none of the column's type */
    int32_t next, after;     /* guesses: which field comes first, and which behind this one */
    int32_t *slots;          /* where fields are found by name, if there are many: which field, from 1 on; 0: none */
    int64_t last_slot;
} column;

bool add_null(column *c);
bool add_value(column *c, const void *value);
bool add_truth(column *c, bool value);
bool add_struct(column *c);
bool end_list(column *c);

/* Room for `size` more bytes; `end_text` makes those up to `end` the next value. */
uint8_t *text_room(column *c, int64_t size);
bool end_text(column *c, const uint8_t *end);

bool pad(column *c, int64_t length);
void cut_back(column *c, int64_t length);
bool finish(column *c);
/* Gives back what these columns and those in them hold. */
EXPORTED void syncd_free(column *columns, int64_t count);

/* The values of a scalar column, as JSON and ClickHouse both spell them, without quotes. */
place add_spelled(place p, place end, column *c);
/* A number that text shows with its own digits. */
place number_end(place p, place end);
/* Behind the word, if it stands at p. */
place word(place p, place end, const char *text);
/* What the digit means, -1: it is none. */
int hex(uint8_t c);
/* How many bytes the character at p has, 0: no UTF-8. */
int utf8_size(place p, place end);

#endif
