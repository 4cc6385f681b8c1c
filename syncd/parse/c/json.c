/* Lines of JSON into columns: those that are plain, whole; of all others nothing. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "columns.h"

enum { LONGEST_KEY = 1000 };               /* of those that are spelled with escapes */
enum { DEEPEST = 64, MOST_KEYS = 64 };    /* of an object that is kept as text */

static place skip(place p, place end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r')) p++;
    return p;
}

static bool is_at(place p, place end, uint8_t byte) { return p < end && *p == byte; }

/* p is behind an element: at the next, or at `close`; NULL for neither. */
static place next_element(place p, place end, uint8_t close) {
    p = skip(p, end);
    if (is_at(p, end, close)) return p;
    if (!is_at(p, end, ',')) return NULL;
    p = skip(p + 1, end);
    return is_at(p, end, close) ? NULL : p;
}

/* --- strings --- */

#define EACH(byte) (0x0101010101010101 * (uint64_t)(byte))

/* The high bit of the first byte in eight that is a quote, a backslash, a control or no ASCII; 0: none is. */
static uint64_t odd_bytes(uint64_t eight) {
    uint64_t quotes = eight ^ EACH('"'), slashes = eight ^ EACH('\\');
    uint64_t found = (eight - EACH(0x20)) | (quotes - EACH(1)) | (slashes - EACH(1));
    return ((found & ~eight) | eight) & EACH(0x80);
}

static place plain_bytes(place p, place end) {
    for (uint64_t eight; end - p >= 8; p += 8) {
        memcpy(&eight, p, 8);
        uint64_t odd = odd_bytes(eight);
        if (odd) return p + __builtin_ctzll(odd) / 8;
    }
    while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\') p++;
    return p;
}

/* The quote that ends the string; NULL for a broken one. */
static place string_end(place p, place end, bool *has_escapes) {
    for (;;) {
        p = plain_bytes(p, end);
        if (p >= end || *p < 0x20) return NULL;
        if (*p == '"') return p;
        if (*p == '\\') {
            *has_escapes = true;
            if (end - p < 2) return NULL;
            p += 2; /* not over a quote that counts: whatever stands behind a backslash is its own */
        } else {
            int size = utf8_size(p, end);
            if (!size) return NULL;
            p += size;
        }
    }
}

static place four_hex(place p, place end, uint32_t *code) {
    if (end - p < 4) return NULL;
    *code = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex(p[i]);
        if (digit < 0) return NULL;
        *code = *code << 4 | (uint32_t)digit;
    }
    return p + 4;
}

/* p is behind the `u`. A surrogate alone is no character. */
static place unicode(place p, place end, uint32_t *code) {
    uint32_t low;
    if (!(p = four_hex(p, end, code)) || *code < 0xd800 || *code > 0xdfff) return p;
    if (*code > 0xdbff || end - p < 6 || p[0] != '\\' || p[1] != 'u') return NULL;
    if (!(p = four_hex(p + 2, end, &low)) || low < 0xdc00 || low > 0xdfff) return NULL;
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return p;
}

/* p is behind the backslash. */
static place escape(place p, place end, uint32_t *code) {
    static const char LETTERS[] = "\"\\/bfnrt", MEANT[] = "\"\\/\b\f\n\r\t";
    if (p >= end) return NULL;
    if (*p == 'u') return unicode(p + 1, end, code);
    const char *found = *p ? strchr(LETTERS, *p) : NULL;
    if (!found) return NULL;
    *code = (uint8_t)MEANT[found - LETTERS];
    return p + 1;
}

static uint8_t *put_character(uint8_t *out, uint32_t code) {
    if (code < 0x80) {
        *out++ = (uint8_t)code;
        return out;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const uint8_t MARKS[] = {0, 0xc0, 0xe0, 0xf0};
    *out++ = (uint8_t)(MARKS[more] | code >> 6 * more);
    while (more--) *out++ = (uint8_t)(0x80 | (code >> 6 * more & 0x3f));
    return out;
}

/* As `json_text` spells it. */
static uint8_t *put_escaped(uint8_t *out, uint32_t code) {
    static const char LETTERS[] = "\"\\bfnrt", MEANT[] = "\"\\\b\f\n\r\t", HEX[] = "0123456789abcdef";
    const char *found = code && code < 0x80 ? strchr(MEANT, (int)code) : NULL;
    if (!found && code >= 0x20) return put_character(out, code);
    *out++ = '\\';
    if (found) {
        *out++ = (uint8_t)LETTERS[found - MEANT];
        return out;
    }
    memcpy(out, "u00", 3);
    out[3] = (uint8_t)HEX[code >> 4];
    out[4] = (uint8_t)HEX[code & 15];
    return out + 5;
}

static uint8_t *copy(uint8_t *out, place p, place end) {
    memcpy(out, p, (size_t)(end - p));
    return out + (end - p);
}

/* The text between p and its end quote, never longer than it was; NULL for a broken escape. */
static uint8_t *unescape(place p, place close, uint8_t *out, uint8_t *(*put)(uint8_t *, uint32_t)) {
    for (;;) {
        place slash = memchr(p, '\\', (size_t)(close - p));
        out = copy(out, p, slash ? slash : close);
        if (!slash) return out;
        uint32_t code;
        if (!(p = escape(slash + 1, close, &code))) return NULL;
        out = put(out, code);
    }
}

static place add_string(place p, place end, column *c) {
    bool has_escapes = false;
    place close = string_end(++p, end, &has_escapes);
    if (!close) return NULL;
    uint8_t *out = text_room(c, close - p);
    if (!out) return NULL;
    out = has_escapes ? unescape(p, close, out, put_character) : copy(out, p, close);
    return out && end_text(c, out) ? close + 1 : NULL;
}

/* --- values that are kept as text, as `json_text` writes them --- */

static place copy_value(place p, place end, uint8_t **out, int depth);

static place copy_string(place p, place end, uint8_t **out) {
    bool has_escapes = false;
    place close = string_end(p + 1, end, &has_escapes);
    if (!close) return NULL;
    *(*out)++ = '"';
    *out = has_escapes ? unescape(p + 1, close, *out, put_escaped) : copy(*out, p + 1, close);
    if (!*out) return NULL;
    *(*out)++ = '"';
    return close + 1;
}

static place copy_list(place p, place end, uint8_t **out, int depth) {
    *(*out)++ = '[';
    p = skip(p + 1, end);
    while (!is_at(p, end, ']')) {
        if (!(p = copy_value(p, end, out, depth)) || !(p = next_element(p, end, ']'))) return NULL;
        if (!is_at(p, end, ']')) *(*out)++ = ',';
    }
    *(*out)++ = ']';
    return p + 1;
}

typedef struct {
    const uint8_t *start;
    size_t size;
} span;

/* A key, its colon and its value; keys are compared as they are written, so a spelling of its own hides none. */
static place copy_field(place p, place end, uint8_t **out, int depth, span *keys, int known) {
    if (!is_at(p, end, '"') || known == MOST_KEYS) return NULL;
    keys[known].start = *out;
    if (!(p = copy_string(p, end, out))) return NULL;
    keys[known].size = (size_t)(*out - keys[known].start);
    for (int i = 0; i < known; i++)
        if (keys[i].size == keys[known].size && !memcmp(keys[i].start, keys[known].start, keys[i].size)) return NULL;
    p = skip(p, end);
    if (!is_at(p, end, ':')) return NULL;
    *(*out)++ = ':';
    return copy_value(skip(p + 1, end), end, out, depth);
}

static place copy_object(place p, place end, uint8_t **out, int depth) {
    span keys[MOST_KEYS];
    *(*out)++ = '{';
    p = skip(p + 1, end);
    for (int known = 0; !is_at(p, end, '}'); known++) {
        if (!(p = copy_field(p, end, out, depth, keys, known)) || !(p = next_element(p, end, '}'))) return NULL;
        if (!is_at(p, end, '}')) *(*out)++ = ',';
    }
    *(*out)++ = '}';
    return p + 1;
}

/* `out` has room for as many bytes as are left of the line. */
static place copy_value(place p, place end, uint8_t **out, int depth) {
    if (p >= end || depth == DEEPEST) return NULL;
    switch (*p) {
    case '"': return copy_string(p, end, out);
    case '[': return copy_list(p, end, out, depth + 1);
    case '{': return copy_object(p, end, out, depth + 1);
    default: break;
    }
    place behind = number_end(p, end);
    if (!behind) behind = word(p, end, "true");
    if (!behind) behind = word(p, end, "false");
    if (!behind) behind = word(p, end, "null");
    if (behind) *out = copy(*out, p, behind);
    return behind;
}

static place add_text(place p, place end, column *c) {
    if (*p == '"') return add_string(p, end, c);
    uint8_t *out = text_room(c, end - p);
    if (!out || !(p = copy_value(p, end, &out, 0))) return NULL;
    return end_text(c, out) ? p : NULL;
}

/* --- values that have a type --- */

static place add_json(place p, place end, column *c);

static place add_list(place p, place end, column *c) {
    if (*p != '[') return NULL;
    p = skip(p + 1, end);
    while (!is_at(p, end, ']')) {
        if (!(p = add_json(p, end, c->inner)) || !(p = next_element(p, end, ']'))) return NULL;
    }
    return end_list(c) ? p + 1 : NULL;
}

static int64_t slot_of(place name, int64_t size, const column *c) {
    uint64_t mark = 14695981039346656037u; /* FNV-1a */
    for (int64_t i = 0; i < size; i++) mark = (mark ^ name[i]) * 1099511628211u;
    return (int64_t)(mark ^ mark >> 32) & c->last_slot;
}

static int64_t next_slot(int64_t slot, const column *c) { return (slot + 1) & c->last_slot; }

/* Where fields are found by name: each in the first free slot from its own on, at least half of them stay free. */
static bool make_slots(column *c) {
    int64_t slots = 2;
    while (slots < 2 * c->count) slots *= 2;
    if (!(c->slots = calloc((size_t)slots, sizeof *c->slots))) return false;
    c->last_slot = slots - 1;
    for (int32_t i = 0; i < c->count; i++) {
        int64_t slot = slot_of(c->inner[i].key, c->inner[i].key_size, c);
        while (c->slots[slot]) slot = next_slot(slot, c);
        c->slots[slot] = i + 1;
    }
    return true;
}

static bool is_named(const column *field, place name, int64_t size) {
    return field->key_size == size && !memcmp(name, field->key, (size_t)size);
}

enum { NEAR = 16 }; /* fields that are tried one after the other */

/* The field of that name, found at once where fields come as they came before. */
static column *field_named(place name, int64_t size, column *c, int32_t *guess) {
    int64_t i = *guess, near = c->count < NEAR ? c->count : NEAR;
    for (int64_t tried = 0; tried < near; tried++, i = i + 1 < c->count ? i + 1 : 0) {
        if (!is_named(&c->inner[i], name, size)) continue;
        *guess = (int32_t)i;
        return &c->inner[i];
    }
    if (near == c->count || (!c->slots && !make_slots(c))) return NULL;
    for (int64_t slot = slot_of(name, size, c); c->slots[slot]; slot = next_slot(slot, c)) {
        i = c->slots[slot] - 1;
        if (!is_named(&c->inner[i], name, size)) continue;
        *guess = (int32_t)i;
        return &c->inner[i];
    }
    return NULL;
}

/* The field whose key ends at `close`. */
static column *field_at(place p, place close, bool has_escapes, column *c, int32_t *guess) {
    uint8_t name[LONGEST_KEY];
    if (!has_escapes) return field_named(p, close - p, c, guess);
    uint8_t *end = close - p <= LONGEST_KEY ? unescape(p, close, name, put_character) : NULL;
    return end ? field_named(name, end - name, c, guess) : NULL;
}

/* p is at a key. A field that has a value already came twice. */
static place add_field(place p, place end, column *c, int32_t **guess) {
    bool has_escapes = false;
    place close = is_at(p, end, '"') ? string_end(p + 1, end, &has_escapes) : NULL;
    column *field = close ? field_at(p + 1, close, has_escapes, c, *guess) : NULL;
    if (!field || field->length > c->length || !pad(field, c->length)) return NULL;
    *guess = &field->after;
    p = skip(close + 1, end);
    return is_at(p, end, ':') ? add_json(skip(p + 1, end), end, field) : NULL;
}

/* An object without fields is no struct, but text; only a group may have none. */
static place add_object(place p, place end, column *c) {
    if (!is_at(p, end, '{')) return NULL;
    int32_t *guess = &c->next;
    p = skip(p + 1, end);
    if (is_at(p, end, '}') && c->kind == GROUP) return add_struct(c) ? p + 1 : NULL;
    while ((p = add_field(p, end, c, &guess))) {
        p = skip(p, end);
        if (is_at(p, end, '}')) return add_struct(c) ? p + 1 : NULL;
        if (!is_at(p, end, ',')) return NULL;
        p = skip(p + 1, end);
    }
    return NULL;
}

static place add_quoted(place p, place end, column *c) {
    p = add_spelled(p + 1, end, c);
    return p && is_at(p, end, '"') ? p + 1 : NULL;
}

static place add_truth_as_number(place p, place end, column *c) {
    uint64_t value = *p == 't';
    place behind = word(p, end, value ? "true" : "false");
    if (!behind) return NULL;
    if (c->truth < 0) c->truth = c->length;
    return add_value(c, &value) ? behind : NULL;
}

static place add_json(place p, place end, column *c) {
    if (p >= end) return NULL;
    if (*p == 'n') {
        place behind = word(p, end, "null");
        return behind && add_null(c) ? behind : NULL;
    }
    switch (c->kind) {
    case TEXT: return add_text(p, end, c);
    case JSON: return *p == '{' || *p == '[' ? add_text(p, end, c) : NULL;
    case LIST: return add_list(p, end, c);
    case STRUCT:
    case GROUP: return add_object(p, end, c);
    case DATE:
    case TIMESTAMP: return *p == '"' ? add_quoted(p, end, c) : NULL;
    case UNSIGNED:
        if (c->loose && (*p == 't' || *p == 'f')) return add_truth_as_number(p, end, c);
        break;
    default: break;
    }
    if (*p == '"') return c->quoted ? add_quoted(p, end, c) : NULL;
    return add_spelled(p, end, c);
}

static bool add_line(place p, place end, column *top) {
    p = add_object(p, end, top);
    return p && skip(p, end) == end;
}

/* Rows from the lines that `taken` marks; the mark is cleared where a line is not plain. False: no memory. */
EXPORTED bool syncd_json(place text, const int64_t *starts, const int64_t *ends, int64_t lines, column *top, uint8_t *taken);

bool syncd_json(place text, const int64_t *starts, const int64_t *ends, int64_t lines, column *top, uint8_t *taken) {
    for (int64_t line = 0; line < lines; line++) {
        int64_t rows = top->length;
        if (!taken[line]) continue;
        taken[line] = add_line(text + starts[line], text + ends[line], top);
        if (!taken[line]) cut_back(top, rows);
    }
    return finish(top);
}
