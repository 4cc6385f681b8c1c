/* Records of CSV: where they end, and their fields into columns, with arrays as ClickHouse writes them. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "columns.h"

#define EACH(byte) (0x0101010101010101 * (uint64_t)(byte))

static uint64_t equal_bytes(uint64_t eight, uint8_t byte) {
    uint64_t same = eight ^ EACH(byte);
    return (same - EACH(1)) & ~same & EACH(0x80);
}

/* The next quote or newline. */
static place next_mark(place p, place end) {
    for (uint64_t eight; end - p >= 8; p += 8) {
        memcpy(&eight, p, 8);
        uint64_t found = equal_bytes(eight, '"') | equal_bytes(eight, '\n');
        if (found) return p + __builtin_ctzll(found) / 8;
    }
    while (p < end && *p != '"' && *p != '\n') p++;
    return p;
}

/* The quote that closes what was opened before p, or `end`. */
static place closing_quote(place p, place end, bool *has_doubled) {
    while ((p = memchr(p, '"', (size_t)(end - p)))) {
        if (end - p < 2 || p[1] != '"') return p;
        *has_doubled = true;
        p += 2;
    }
    return end;
}

static bool ends_field(place p, place end, uint8_t delimiter) {
    if (p == end || *p == delimiter || *p == '\n') return true;
    return *p == '\r' && (end - p < 2 || p[1] == '\n');
}

/* How many lines end, and where the first `room` of them do. */
EXPORTED int64_t syncd_lines(place text, int64_t size, int64_t *ends, int64_t room);

int64_t syncd_lines(place text, int64_t size, int64_t *ends, int64_t room) {
    int64_t found = 0;
    for (place p = text; (p = memchr(p, '\n', (size_t)(text + size - p))); p++, found++)
        if (found < room) ends[found] = p - text;
    return found;
}

/* The same for records, which no newline in quotes ends; -1 where quotes stand elsewhere than around whole fields.
   An open quote at the end is told by `is_open`. */
EXPORTED int64_t syncd_records(place text, int64_t size, int64_t *ends, int64_t room, uint8_t delimiter, bool *is_open);

int64_t syncd_records(place text, int64_t size, int64_t *ends, int64_t room, uint8_t delimiter, bool *is_open) {
    place end = text + size, p = text;
    int64_t found = 0;
    *is_open = false;
    while ((p = next_mark(p, end)) < end) {
        if (*p == '\n') {
            if (found < room) ends[found] = p - text;
            found++, p++;
            continue;
        }
        bool has_doubled = false;
        if (p > text && p[-1] != delimiter && p[-1] != '\n') return -1;
        p = closing_quote(p + 1, end, &has_doubled);
        *is_open = p == end;
        if (*is_open) return found;
        if (!ends_field(++p, end, delimiter)) return -1;
    }
    return found;
}

/* --- fields --- */

typedef struct {
    place from, to, behind;
    bool is_quoted, has_doubled;
} field;

/* The field that begins at p: in quotes, or up to the delimiter, whatever quotes are in it. */
static bool read_field(place p, place end, uint8_t delimiter, field *f) {
    *f = (field){.is_quoted = p < end && *p == '"'};
    f->from = p + f->is_quoted;
    if (f->is_quoted) {
        f->to = closing_quote(f->from, end, &f->has_doubled);
        if (f->to == end) return false;
        f->behind = f->to + 1;
    } else {
        while (p < end && *p != delimiter) p++;
        f->to = f->behind = p;
    }
    return f->behind == end || *f->behind == delimiter;
}

/* One of two quotes. */
static uint8_t *undoubled(place p, place end, uint8_t *out) {
    for (;;) {
        place quote = memchr(p, '"', (size_t)(end - p));
        place stop = quote ? quote + 1 : end;
        memcpy(out, p, (size_t)(stop - p));
        out += stop - p;
        if (!quote) return out;
        p = quote + 2;
    }
}

static bool add_text(const field *f, column *c) {
    uint8_t *out = text_room(c, f->to - f->from);
    if (!out) return false;
    if (f->has_doubled) return end_text(c, undoubled(f->from, f->to, out));
    memcpy(out, f->from, (size_t)(f->to - f->from));
    return end_text(c, out + (f->to - f->from));
}

/* --- arrays --- */

/* What stands behind a backslash at p[-1], as arraytext.py has it. */
static place unescape(place p, place end, uint8_t **out) {
    static const char LETTERS[] = "bfnrt0av", MEANT[] = "\b\f\n\r\t\0\a\v";
    if (*p == 'x' && end - p > 2 && hex(p[1]) >= 0 && hex(p[2]) >= 0) {
        uint8_t code = (uint8_t)(hex(p[1]) << 4 | hex(p[2]));
        if (code >= 0x80) *(*out)++ = (uint8_t)(0xc0 | code >> 6);
        *(*out)++ = code < 0x80 ? code : (uint8_t)(0x80 | (code & 0x3f));
        return p + 3;
    }
    const char *found = *p ? strchr(LETTERS, *p) : NULL;
    *(*out)++ = found ? (uint8_t)MEANT[found - LETTERS] : *p;
    return p + 1;
}

/* p is behind the quote that opens. */
static place add_quoted_text(place p, place end, column *c) {
    uint8_t *out = text_room(c, end - p);
    if (!out) return NULL;
    while (p < end) {
        if (*p == '\\') {
            if (++p == end) return NULL;
            p = unescape(p, end, &out);
        } else if (*p != '\'') {
            *out++ = *p++;
        } else if (end - p > 1 && p[1] == '\'') {
            *out++ = '\'';
            p += 2;
        } else {
            return end_text(c, out) ? p + 1 : NULL;
        }
    }
    return NULL;
}

static place add_element(place p, place end, column *c) {
    if (p == end) return NULL;
    if (*p == '\'') {
        if (c->kind == TEXT) return add_quoted_text(p + 1, end, c);
        p = add_spelled(p + 1, end, c);
        return p && p < end && *p == '\'' ? p + 1 : NULL;
    }
    if (end - p >= 4 && !memcmp(p, "NULL", 4)) return add_null(c) ? p + 4 : NULL;
    return c->kind == DATE || c->kind == TIMESTAMP ? NULL : add_spelled(p, end, c);
}

static place add_array(place p, place end, column *c) {
    if (p == end || *p != '[') return NULL;
    if (end - p > 1 && p[1] == ']') return end_list(c) ? p + 2 : NULL;
    do {
        p = add_element(p + 1, end, c->inner);
    } while (p && p < end && *p == ',');
    return p && p < end && *p == ']' && end_list(c) ? p + 1 : NULL;
}

/* --- columns --- */

static bool is_typed(place p, place end, column *c) {
    return (c->kind == LIST ? add_array(p, end, c) : add_spelled(p, end, c)) == end;
}

static bool is_typed_undoubled(const field *f, column *c) {
    uint8_t *text = malloc((size_t)(f->to - f->from + 1));
    bool is = text && is_typed(text, undoubled(f->from, f->to, text), c);
    free(text);
    return is;
}

/* A value that its column's type doesn't hold makes the column odd: it is read again as text. */
static bool add_typed(const field *f, column *c) {
    int64_t length = c->length;
    if (!c->odd && (f->has_doubled ? is_typed_undoubled(f, c) : is_typed(f->from, f->to, c))) return true;
    cut_back(c, length);
    c->odd = 1;
    return add_null(c);
}

static bool add_field(const field *f, column *c) {
    if (c->kind == NOTHING) return true;
    if (!f->is_quoted && f->to - f->from == 2 && !memcmp(f->from, "\\N", 2)) return add_null(c);
    if (c->blank && f->from == f->to) return add_null(c);
    return c->kind == TEXT ? add_text(f, c) : add_typed(f, c);
}

static place add_next(place p, place end, uint8_t delimiter, column *c) {
    field f;
    return read_field(p, end, delimiter, &f) && add_field(&f, c) ? f.behind : NULL;
}

/* A field without quotes that is of its column's type, at once; NULL: look closer. */
static place add_bare(place p, place end, uint8_t delimiter, column *c) {
    int64_t length = c->length;
    if (c->kind == TEXT || c->kind == LIST) return NULL;
    place behind = add_spelled(p, end, c);
    if (behind && (behind == end || *behind == delimiter)) return behind;
    cut_back(c, length);
    return NULL;
}

/* False for another number of fields than there are columns, and for broken quotes. */
static bool add_record(place p, place end, uint8_t delimiter, column *top) {
    if (p < end && end[-1] == '\r') end--;
    for (int64_t i = 0; i < top->count; i++) {
        place behind = add_bare(p, end, delimiter, &top->inner[i]);
        if (!behind) behind = add_next(p, end, delimiter, &top->inner[i]);
        if (!behind) return false;
        if (behind == end) return i + 1 == top->count && add_struct(top);
        p = behind + 1;
    }
    return false;
}

/* Rows from the records that `taken` marks; the mark is cleared where there is none. They are UTF-8. */
EXPORTED bool syncd_csv(place text, const int64_t *starts, const int64_t *ends, int64_t lines, column *top, uint8_t *taken,
               uint8_t delimiter);

bool syncd_csv(place text, const int64_t *starts, const int64_t *ends, int64_t lines, column *top, uint8_t *taken,
               uint8_t delimiter) {
    for (int64_t line = 0; line < lines; line++) {
        int64_t rows = top->length;
        if (!taken[line]) continue;
        taken[line] = add_record(text + starts[line], text + ends[line], delimiter, top);
        if (!taken[line]) cut_back(top, rows);
    }
    return finish(top);
}
