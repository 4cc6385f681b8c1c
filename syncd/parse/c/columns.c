#include "columns.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef SYNCD_SOURCE
#define SYNCD_SOURCE ""
#endif
EXPORTED extern const char syncd_source[];
const char syncd_source[] = SYNCD_SOURCE; /* what this was compiled from */

#if FLT_EVAL_METHOD != 0
#error "doubles must be rounded once: only where the processor has them"
#endif

static bool has_offsets(const column *c) { return c->kind == TEXT || c->kind == JSON || c->kind == LIST; }

static int64_t fixed_bytes(const column *c, int64_t values) {
    return c->kind == BOOL ? (values + 7) / 8 : values * c->width;
}

static bool resize(void *buffer, int64_t size) {
    void *moved = realloc(*(void **)buffer, size > 0 ? (size_t)size : 1);
    if (moved) *(void **)buffer = moved;
    return moved != NULL;
}

static bool reserve(column *c, int64_t room) {
    if (room <= c->room && c->valid) return true;
    if (room < 2 * c->room) room = 2 * c->room;
    if (room < c->expected) room = c->expected;
    if (!resize(&c->valid, (room + 7) / 8)) return false;
    if (has_offsets(c)) {
        if (!resize(&c->offsets, (room + 1) * (int64_t)sizeof(int32_t))) return false;
        c->offsets[0] = 0;
    } else if (!resize(&c->values, fixed_bytes(c, room))) {
        return false;
    }
    c->room = room;
    return true;
}

static void set_bit(uint8_t *bits, int64_t at, bool value) {
    uint8_t mask = (uint8_t)(1 << (at & 7));
    if (value)
        bits[at >> 3] |= mask;
    else
        bits[at >> 3] &= (uint8_t)~mask;
}

static bool has_room(column *c) { return c->length < c->room || reserve(c, c->length + 8); }

static bool add(column *c, bool is_valid) {
    set_bit(c->valid, c->length, is_valid);
    c->length++;
    return true;
}

static void seen(column *c) {
    if (c->first < 0) c->first = c->length;
}

static bool add_nothing(column *c) {
    if (!has_room(c)) return false;
    if (has_offsets(c))
        c->offsets[c->length + 1] = c->offsets[c->length];
    else if (c->kind == BOOL)
        set_bit(c->values, c->length, false);
    else
        memset(c->values + c->length * c->width, 0, (size_t)c->width);
    return add(c, false);
}

bool add_null(column *c) {
    seen(c);
    return add_nothing(c);
}

bool add_value(column *c, const void *value) {
    if (!has_room(c)) return false;
    seen(c);
    switch (c->width) { /* of a size that is known: no call */
    case 8: memcpy(c->values + c->length * 8, value, 8); break;
    case 4: memcpy(c->values + c->length * 4, value, 4); break;
    case 2: memcpy(c->values + c->length * 2, value, 2); break;
    default: memcpy(c->values + c->length, value, 1);
    }
    return add(c, true);
}

bool add_truth(column *c, bool value) {
    if (!has_room(c)) return false;
    seen(c);
    set_bit(c->values, c->length, value);
    return add(c, true);
}

bool add_struct(column *c) {
    if (!has_room(c)) return false;
    seen(c);
    return add(c, true);
}

bool end_list(column *c) {
    if (!has_room(c) || c->inner->length > INT32_MAX) return false;
    seen(c);
    c->offsets[c->length + 1] = (int32_t)c->inner->length;
    return add(c, true);
}

uint8_t *text_room(column *c, int64_t size) {
    if (!has_room(c)) return NULL;
    int64_t used = c->offsets[c->length];
    if (used + size > c->text_room || !c->values) {
        int64_t room = used + size > 2 * c->text_room ? used + size : 2 * c->text_room;
        if (used + size > INT32_MAX || !resize(&c->values, room)) return NULL;
        c->text_room = room;
    }
    return c->values + used;
}

bool end_text(column *c, const uint8_t *end) {
    seen(c);
    c->offsets[c->length + 1] = (int32_t)(end - c->values);
    return add(c, true);
}

bool pad(column *c, int64_t length) {
    while (c->length < length)
        if (!add_nothing(c)) return false;
    return true;
}

/* Forget what was added behind `length`, and what was begun and not ended. */
void cut_back(column *c, int64_t length) {
    if (c->length > length) c->length = length;
    if (c->first >= c->length) c->first = -1;
    if (c->truth >= c->length) c->truth = -1;
    if (c->kind == LIST) cut_back(c->inner, c->offsets ? c->offsets[c->length] : 0);
    if (c->kind == STRUCT || c->kind == GROUP)
        for (int64_t i = 0; i < c->count; i++) cut_back(&c->inner[i], c->length);
}

static int64_t count_nulls(const column *c) {
    int64_t valid = 0;
    for (int64_t i = 0; i < c->length; i++) valid += c->valid[i >> 3] >> (i & 7) & 1;
    return c->length - valid;
}

/* All fields as long as their struct, and no more memory held than is used. */
bool finish(column *c) {
    c->expected = 0;
    if (!reserve(c, c->length)) return false;
    for (int64_t i = 0; i < c->count; i++) {
        column *inner = &c->inner[i];
        if (c->kind == STRUCT || (c->kind == GROUP && inner->first >= 0))
            if (!pad(inner, c->length)) return false;
        if (!finish(inner)) return false;
    }
    c->nulls = count_nulls(c);
    int64_t used = has_offsets(c) ? (c->kind == LIST ? 0 : c->offsets[c->length]) : fixed_bytes(c, c->length);
    c->text_room = used;
    return resize(&c->values, used);
}

void syncd_free(column *columns, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        free(columns[i].valid);
        free(columns[i].values);
        free(columns[i].offsets);
        free(columns[i].slots);
        syncd_free(columns[i].inner, columns[i].count);
    }
}

/* --- spellings --- */

typedef struct {
    uint64_t digits; /* all of them, without the point */
    int64_t exponent;
    int64_t count; /* of digits */
    uint8_t first;
    bool is_negative, is_fraction, has_power;
} number;

static bool is_digit(place p, place end) { return p < end && (uint8_t)(*p - '0') < 10; }

/* Eight digits at once: neighbours are added in pairs, then pairs, then fours. */
static bool eight_digits(place p, place end, uint64_t *value) {
    uint64_t eight;
    if (end - p < 8) return false;
    memcpy(&eight, p, 8);
    uint64_t high = 0xf0f0f0f0f0f0f0f0, six = 0x0606060606060606;
    if (((eight & high) | ((eight + six) & high) >> 4) != 0x3333333333333333) return false;
    eight = (eight & 0x0f0f0f0f0f0f0f0f) * (10 * 256 + 1) >> 8;
    eight = (eight & 0x00ff00ff00ff00ff) * (100 * 65536 + 1) >> 16;
    *value = (eight & 0x0000ffff0000ffff) * (10000 * 4294967296 + 1) >> 32;
    return true;
}

static place digits(place p, place end, number *n) {
    place start = p;
    uint64_t value = n->digits, more;
    for (; eight_digits(p, end, &more); p += 8) value = value * 100000000 + more;
    for (; is_digit(p, end); p++) value = value * 10 + (uint64_t)(*p - '0');
    n->count += p - start;
    n->digits = value;
    return p > start ? p : NULL;
}

/* Whether the digits are more than 64 bits hold: then they have come out as others. Twenty fit if they begin with a 1
   and have not begun again at 0. */
static bool is_long(const number *n) {
    return n->count > 20 || (n->count == 20 && (n->first != '1' || n->digits < 10000000000000000000u));
}

static place exponent(place p, place end, number *n) {
    bool is_negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+')) p++;
    number power = {0};
    if (!(p = digits(p, end, &power))) return NULL;
    int64_t size = power.count > 3 ? 9999 : (int64_t)power.digits; /* beyond what anything is done with */
    n->exponent += is_negative ? -size : size;
    return p;
}

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? and nothing else is a number. */
static place read_number(place p, place end, number *n) {
    if (p < end && *p == '-') {
        n->is_negative = true;
        p++;
    }
    if (!is_digit(p, end) || (*p == '0' && is_digit(p + 1, end))) return NULL;
    n->first = *p;
    p = digits(p, end, n);
    if (p < end && *p == '.') {
        place point = p;
        n->is_fraction = true;
        if (!(p = digits(p + 1, end, n))) return NULL;
        n->exponent = -(p - point - 1);
    }
    if (p < end && (*p | 32) == 'e') {
        n->is_fraction = n->has_power = true;
        p = exponent(p + 1, end, n);
    }
    return p;
}

enum { MOST_DIGITS = 300 }; /* more before a point may be infinite as a double, as a power may: refused elsewhere */

place number_end(place p, place end) {
    number n = {0};
    place behind = read_number(p, end, &n);
    return behind && behind - p <= MOST_DIGITS && !n.has_power ? behind : NULL;
}

static place add_integer(place p, place end, column *c) {
    number n = {0};
    p = read_number(p, end, &n);
    if (!p || n.is_fraction || is_long(&n) || (n.is_negative && !n.digits)) return NULL; /* -0 may have to be shown */
    int bits = 8 * c->width;
    uint64_t most = c->kind == SIGNED ? (UINT64_MAX >> 1) >> (64 - bits) : UINT64_MAX >> (64 - bits);
    if (n.is_negative && c->kind == UNSIGNED) return NULL;
    if (n.digits > most + n.is_negative) return NULL;
    uint64_t value = n.is_negative ? 0 - n.digits : n.digits;
    return add_value(c, &value) ? p : NULL;
}

static const double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
static const uint64_t DIGITS_15 = 1000000000000000, DIGITS_17 = 100000000000000000;
static const double ALL_INTEGERS = 9007199254740992.0; /* up to here each of them is a double */

static double nearest(uint64_t digits, int64_t exponent) {
    char text[64]; /* without a point: a locale may write a comma */
    snprintf(text, sizeof text, "%" PRIu64 "e%" PRId64, digits, exponent);
    return strtod(text, NULL);
}

/* The digits of the decimal of so many digits that is nearest to the value. */
static uint64_t shortened(double value, int count) {
    char text[64];
    snprintf(text, sizeof text, "%.*e", count - 1, value);
    uint64_t digits = 0;
    for (const char *p = text; *p && *p != 'e'; p++)
        if (*p >= '0' && *p <= '9') digits = digits * 10 + (uint64_t)(*p - '0');
    return digits;
}

/* A double of 16 or 17 digits, if none of fewer digits is the same and none of as many is nearer: then these digits
   are its shortest spelling. At a power of two neighbours are not equally far: not looked into. */
static bool is_shortest(double value, uint64_t digits, int64_t power) {
    int half_way, count = digits >= 10 * DIGITS_15 ? 17 : 16;
    if (frexp(value, &half_way) == 0.5 || shortened(value, count) != digits) return false;
    return nearest(shortened(value, count - 1), power + 1) != value;
}

/* A fraction that its double's shortest spelling equals. Up to 15 digits are; with a power of ten that a double holds
   exactly it takes one operation, so it is rounded once (Clinger). */
static place add_double(place p, place end, column *c) {
    number n = {0};
    p = read_number(p, end, &n);
    if (!p || is_long(&n)) return NULL;
    while (n.is_fraction && n.digits >= DIGITS_15 && n.digits % 10 == 0) {
        n.digits /= 10;
        n.exponent++;
    }
    double value = (double)n.digits;
    if (n.digits < DIGITS_15 && n.exponent >= -22 && n.exponent <= 22) {
        value = n.exponent < 0 ? value / POWERS[-n.exponent] : value * POWERS[n.exponent];
    } else {
        if (!n.is_fraction || n.digits < DIGITS_15 || n.digits >= DIGITS_17 || n.exponent < -200) return NULL;
        value = nearest(n.digits, n.exponent);
        if (!is_shortest(value, n.digits, n.exponent)) return NULL;
    }
    if (value >= ALL_INTEGERS) return NULL;
    if (n.is_negative) value = -value;
    return add_value(c, &value) ? p : NULL;
}

place word(place p, place end, const char *text) {
    size_t size = strlen(text);
    return (size_t)(end - p) >= size && !memcmp(p, text, size) ? p + size : NULL;
}

static place add_a_truth(place p, place end, column *c) {
    place behind;
    if ((behind = word(p, end, "true")) || (c->loose && (behind = word(p, end, "1"))))
        return add_truth(c, true) ? behind : NULL;
    if ((behind = word(p, end, "false")) || (c->loose && (behind = word(p, end, "0"))))
        return add_truth(c, false) ? behind : NULL;
    return NULL;
}

/* Two digits below `limit`, or NULL. */
static place two(place p, place end, int limit, int64_t *value) {
    if (!is_digit(p, end) || !is_digit(p + 1, end)) return NULL;
    *value = (p[0] - '0') * 10 + (p[1] - '0');
    return *value < limit ? p + 2 : NULL;
}

static bool is_leap(int64_t year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

/* Days from 1970 to a day of the calendar; years begin in March, so that the odd day is the last. */
static int64_t days_of(int64_t year, int64_t month, int64_t day) {
    year -= month < 3;
    int64_t day_of_year = (153 * (month + (month < 3 ? 9 : -3)) + 2) / 5 + day - 1;
    return year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719468;
}

static place read_day(place p, place end, int64_t *days) {
    static const uint8_t LENGTHS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t century, year, month, day;
    if (!(p = two(p, end, 100, &century)) || !(p = two(p, end, 100, &year))) return NULL;
    if (p == end || *p != '-' || !(p = two(p + 1, end, 13, &month))) return NULL;
    if (p == end || *p != '-' || !(p = two(p + 1, end, 32, &day))) return NULL;
    year += 100 * century;
    if (!year || !month || !day || day > LENGTHS[month - 1] + (month == 2 && is_leap(year))) return NULL;
    *days = days_of(year, month, day);
    return p;
}

/* Up to six digits; those behind must be zeros. */
static place read_micros(place p, place end, int64_t *micros) {
    if (!is_digit(p, end)) return NULL;
    for (int64_t unit = 100000; is_digit(p, end); p++, unit /= 10) {
        if (!unit && *p != '0') return NULL;
        *micros += (*p - '0') * unit;
    }
    return p;
}

static place read_clock(place p, place end, int64_t *micros) {
    int64_t hour, minute = 0, second = 0;
    if (!(p = two(p, end, 24, &hour))) return NULL;
    if (p < end && *p == ':') {
        if (!(p = two(p + 1, end, 60, &minute))) return NULL;
        if (p < end && *p == ':') {
            if (!(p = two(p + 1, end, 60, &second))) return NULL;
            if (p < end && *p == '.' && !(p = read_micros(p + 1, end, micros))) return NULL;
        }
    }
    *micros += ((hour * 60 + minute) * 60 + second) * 1000000;
    return p;
}

static place read_zone(place p, place end, int64_t *micros) {
    if (p < end && *p == 'Z') return p + 1;
    if (p == end || (*p != '+' && *p != '-')) return p;
    int64_t sign = *p == '-' ? 1 : -1, hours, minutes = 0;
    if (!(p = two(p + 1, end, 24, &hours))) return NULL;
    if (p < end && *p == ':' && !is_digit(p + 1, end)) return NULL;
    if (p < end && (*p == ':' || is_digit(p, end)) && !(p = two(p + (*p == ':'), end, 60, &minutes))) return NULL;
    *micros += sign * (hours * 60 + minutes) * 60 * 1000000;
    return p;
}

static place add_time(place p, place end, column *c) {
    static const int64_t LEAST = -62135596800000000, MOST = 253402300799999999; /* the years 1 to 9999 */
    int64_t days, micros = 0;
    if (!(p = read_day(p, end, &days))) return NULL;
    if (p < end && (*p == ' ' || *p == 'T'))
        if (!(p = read_clock(p + 1, end, &micros)) || !(p = read_zone(p, end, &micros))) return NULL;
    micros += days * 86400000000;
    return micros >= LEAST && micros <= MOST && add_value(c, &micros) ? p : NULL;
}

static place add_day(place p, place end, column *c) {
    int64_t days;
    p = read_day(p, end, &days);
    return p && add_value(c, &days) ? p : NULL;
}

place add_spelled(place p, place end, column *c) {
    switch (c->kind) {
    case BOOL: return add_a_truth(p, end, c);
    case SIGNED:
    case UNSIGNED: return add_integer(p, end, c);
    case DOUBLE: return add_double(p, end, c);
    case DATE: return add_day(p, end, c);
    case TIMESTAMP: return add_time(p, end, c);
    default: return NULL;
    }
}

static bool follows(place p, place end, int at, uint8_t least, uint8_t most) {
    return end - p > at && p[at] >= least && p[at] <= most;
}

int hex(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int utf8_size(place p, place end) {
    if (p >= end) return 0;
    if (*p < 0x80) return 1;
    if (*p >= 0xc2 && *p <= 0xdf) return follows(p, end, 1, 0x80, 0xbf) ? 2 : 0;
    if (*p >= 0xe0 && *p <= 0xef) { /* no longer than need be, and no surrogates */
        uint8_t least = *p == 0xe0 ? 0xa0 : 0x80, most = *p == 0xed ? 0x9f : 0xbf;
        return follows(p, end, 1, least, most) && follows(p, end, 2, 0x80, 0xbf) ? 3 : 0;
    }
    if (*p >= 0xf0 && *p <= 0xf4) {
        uint8_t least = *p == 0xf0 ? 0x90 : 0x80, most = *p == 0xf4 ? 0x8f : 0xbf;
        bool ends = follows(p, end, 2, 0x80, 0xbf) && follows(p, end, 3, 0x80, 0xbf);
        return follows(p, end, 1, least, most) && ends ? 4 : 0;
    }
    return 0;
}
