/* What msgspec decoded, read without looking up a name; and the venue's text as numbers.
 *
 * The structs are read at the offsets at which their classes keep their fields: looking fields up
 * by name would cost more than all the rest. Text that is no number of its kind is refused with
 * OutOfRangeError, as text_numbers.py refuses it.
 */

#ifndef PENSTOCK_DECODED_H
#define PENSTOCK_DECODED_H

#include "_book.h"

#define SIZE_MAX_E9 (9000000000LL * E9)
#define FAILED (-1LL)
#define UNKNOWN (-1)
#define NO_PRICE (-2)

extern PyObject *out_of_range;

/* --- fields of the Python classes ------------------------------------------------------------ */

typedef struct {
    const char *names[8];
    PyTypeObject *type;
    Py_ssize_t offsets[8];
} Class;

enum { PRICE, SIZE, SIDE, ASSET_ID, BEST_BID, BEST_ASK, HASH };
enum { TIMESTAMP, CHANGES };
extern Class change_struct, level_struct, message_struct;

#define FIELD(class, object, field) (*(PyObject **)((char *)(object) + (class).offsets[field]))

/* Learn where a class keeps its fields; -1 with an exception. */
int learn_class(Class *class, PyObject *type);

static inline int is_a(const Class *class, PyObject *object)
{
    if (class->type && Py_IS_TYPE(object, class->type))
        return 1;
    return PyErr_Format(PyExc_TypeError, "a %s has no place here", Py_TYPE(object)->tp_name), 0;
}

/* --- text ------------------------------------------------------------------------------------ */

static inline int is_text(PyObject *text)
{
    if (text && PyUnicode_CheckExact(text))
        return 1;
    PyErr_SetString(out_of_range, "not text");
    return 0;
}

/* A decimal in units of 1e-9 by the grammar of venue/decimals.py; FAILED for any other text. */
static inline long long read_decimal(PyObject *text)
{
    static const long long scale[] = {
        1000000000, 100000000, 10000000, 1000000, 100000, 10000, 1000, 100, 10, 1};
    Py_ssize_t length = PyUnicode_GET_LENGTH(text), point = -1;
    if (!PyUnicode_IS_COMPACT_ASCII(text) || length < 1 || length > 20)
        return FAILED;
    const unsigned char *at = PyUnicode_DATA(text);
    long long value = 0;
    for (Py_ssize_t i = 0; i < length; i++) {
        unsigned digit = at[i] - '0';
        if (digit <= 9 && value <= SIZE_MAX_E9 / 10)
            value = 10 * value + digit;
        else if (at[i] == '.' && point < 0)
            point = i;
        else
            return FAILED;
    }
    Py_ssize_t places = point < 0 ? 0 : length - point - 1;
    if (places > 9 || (point >= 0 && !places) || value > SIZE_MAX_E9 / scale[places])
        return FAILED;
    return value * scale[places];
}

static inline long long read_number(PyObject *text, long long low, long long high)
{
    if (!is_text(text))
        return FAILED;
    long long value = read_decimal(text);
    if (low <= value && value <= high)
        return value;
    return PyErr_Format(out_of_range, "%.40R is not a decimal of its range", text), FAILED;
}

#define READ_SIZE(text) read_number(text, 0, SIZE_MAX_E9)

/* A price on the grid; in 32 bits, which hold both, dividing costs a third. */
static inline long long read_price(PyObject *text, unsigned tick)
{
    long long px = read_number(text, 1, E9 - 1);
    if (px == FAILED || (unsigned)px % tick == 0)
        return px;
    return PyErr_SetString(out_of_range, "a price off the grid"), FAILED;
}

/* A best price as claimed: "" tells of none, 0 and 1 stand for an empty side. */
static inline int32_t read_claim(PyObject *text)
{
    if (!text || !PyUnicode_CheckExact(text))
        return NO_PRICE;
    if (!PyUnicode_GET_LENGTH(text))
        return UNKNOWN;
    long long px = read_decimal(text);
    return 0 <= px && px <= E9 ? (int32_t)px : NO_PRICE;
}

/* A tick size; 0 with an exception. */
unsigned read_tick(PyObject *number);

/* The venue's epoch milliseconds, of thirteen digits, in nanoseconds; FAILED with an exception. */
long long read_time(PyObject *text);

#endif
