/* The loops over levels in C: the twin of pure_book.py, with the same names, results and errors.
 *
 * It works on the Python objects themselves, a TokenBook's dicts of integers and the structs that
 * msgspec decoded, and reads their fields at the offsets at which their classes keep them: looking
 * fields up by name would cost more than all the rest. It never runs Python code, so nothing in use
 * can change or go meanwhile. Relies on the GIL.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#define E9 1000000000LL
#define SIZE_MAX_E9 (9000000000LL * E9)
#define FAILED (-1LL)

static PyObject *out_of_range;

/* --- fields of the Python classes ------------------------------------------------------------ */

typedef struct {
    const char *names[8];
    PyTypeObject *type;
    Py_ssize_t offsets[8];
} Class;

enum { BIDS, ASKS, BID_PX, ASK_PX, TOKEN_ID, CLAIM, FRAME };
enum { PRICE, SIZE, SIDE, ASSET_ID, BEST_BID, BEST_ASK };
static Class token_book = {
    {"bids", "asks", "bid_px", "ask_px", "token_id", "claim", "frame"}, NULL, {0}};
static Class change_struct = {
    {"price", "size", "side", "asset_id", "best_bid", "best_ask"}, NULL, {0}};
static Class level_struct = {{"price", "size"}, NULL, {0}};

#define FIELD(class, object, field) (*(PyObject **)((char *)(object) + (class).offsets[field]))

static int learn_class(Class *class, PyObject *type)
{
    Py_ssize_t offsets[8] = {0};
    for (int i = 0; class->names[i]; i++) {
        PyObject *found = PyObject_GetAttrString(type, class->names[i]);
        if (!found)
            return -1;
        PyMemberDescrObject *slot = (PyMemberDescrObject *)found;
        int is_slot = Py_IS_TYPE(found, &PyMemberDescr_Type) && slot->d_member->type == T_OBJECT_EX;
        offsets[i] = is_slot ? slot->d_member->offset : 0;
        Py_DECREF(found);
        if (!is_slot)
            return PyErr_Format(PyExc_TypeError, "%R has no slot %s", type, class->names[i]), -1;
    }
    memcpy(class->offsets, offsets, sizeof offsets);
    Py_XSETREF(class->type, (PyTypeObject *)Py_NewRef(type));
    return 0;
}

static inline int is_a(const Class *class, PyObject *object)
{
    if (class->type && Py_IS_TYPE(object, class->type))
        return 1;
    return PyErr_Format(PyExc_TypeError, "a %s has no place here", Py_TYPE(object)->tp_name), 0;
}

#define SET(field, value) Py_XSETREF(field, Py_NewRef(value))

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

static unsigned read_tick(PyObject *number)
{
    long long tick = PyLong_CheckExact(number) ? PyLong_AsLongLong(number) : FAILED;
    if (0 < tick && tick < E9)
        return (unsigned)tick;
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "a tick size that is none");
    return 0;
}

/* parse_time_ns(text): the venue's epoch milliseconds, of thirteen digits */
static PyObject *parse_time_ns(PyObject *Py_UNUSED(module), PyObject *text)
{
    if (!is_text(text))
        return NULL;
    int is_plain = PyUnicode_GET_LENGTH(text) == 13 && PyUnicode_IS_COMPACT_ASCII(text);
    const unsigned char *at = PyUnicode_DATA(text);
    long long value = 0;
    for (int i = 0; is_plain && i < 13; i++) {
        unsigned digit = at[i] - '0';
        is_plain = digit <= 9;
        value = 10 * value + digit;
    }
    if (!is_plain || value < 1000 * E9 || value >= 9000 * E9)
        return PyErr_Format(out_of_range, "%.40R is not a time in milliseconds", text);
    return PyLong_FromLongLong(value * 1000000);
}

/* --- levels ---------------------------------------------------------------------------------- */

/* The best price of a side, 0 or 1 of one without levels. */
static PyObject *best_of(PyObject *levels, int is_bid)
{
    long long best = is_bid ? 0 : E9;
    PyObject *price, *size;
    for (Py_ssize_t at = 0; PyDict_Next(levels, &at, &price, &size);) {
        long long px = PyLong_AsLongLong(price);
        if (is_bid ? px > best : px < best)
            best = px;
    }
    return PyErr_Occurred() ? NULL : PyLong_FromLongLong(best);
}

/* Set a level's total, 0 removes it: 1, 0 if there was none to remove, -1 with an exception. */
static int set_level(PyObject *levels, long long px, long long size)
{
    PyObject *price = PyLong_FromLongLong(px), *total = PyLong_FromLongLong(size);
    int done = !price || !total ? -1 : size ? 1 : PyDict_Contains(levels, price);
    if (done > 0 && (size ? PyDict_SetItem(levels, price, total) : PyDict_DelItem(levels, price)))
        done = -1;
    Py_XDECREF(price), Py_XDECREF(total);
    return done;
}

static int apply_change(PyObject *book, PyObject *change, unsigned tick)
{
    long long px = read_price(FIELD(change_struct, change, PRICE), tick);
    long long size = px == FAILED ? FAILED : READ_SIZE(FIELD(change_struct, change, SIZE));
    PyObject *side = FIELD(change_struct, change, SIDE);
    if (size == FAILED || !is_text(side))
        return -1;
    int is_bid = PyUnicode_CompareWithASCIIString(side, "BUY") == 0;
    if (!is_bid && PyUnicode_CompareWithASCIIString(side, "SELL") != 0)
        return PyErr_SetString(out_of_range, "a side that is none"), -1;

    PyObject *levels = FIELD(token_book, book, is_bid ? BIDS : ASKS);
    PyObject **best = &FIELD(token_book, book, is_bid ? BID_PX : ASK_PX);
    if (!levels || !PyDict_CheckExact(levels) || !*best || !PyLong_CheckExact(*best))
        return PyErr_SetString(PyExc_TypeError, "a book without levels"), -1;
    long long best_px = PyLong_AsLongLong(*best);
    int done = set_level(levels, px, size);
    int is_news = !size ? px == best_px : is_bid ? px > best_px : px < best_px;
    if (done <= 0 || !is_news)
        return done < 0 ? -1 : 0;
    PyObject *next = size ? PyLong_FromLongLong(px) : best_of(levels, is_bid);
    if (next)
        Py_SETREF(*best, next);
    return next ? 0 : -1;
}

/* Whose change it is: 0 the first book's, 1 the second's, -1 with an exception. */
static int owner_of(PyObject *const books[2], PyObject *token)
{
    PyObject **names[] = {
        &FIELD(token_book, books[0], TOKEN_ID), &FIELD(token_book, books[1], TOKEN_ID)};
    if (!is_text(token) || !is_text(*names[0]) || !is_text(*names[1]))
        return -1;
    for (int i = 0; i < 2; i++)
        if (PyUnicode_Compare(token, *names[i]) == 0)
            return i;
    if (PyUnicode_GET_LENGTH(*names[1]))
        return PyErr_SetString(out_of_range, "a token of another market"), -1;
    SET(*names[1], token); /* this is how a sibling becomes known */
    return 1;
}

/* Whether a book has a sound top, which is the one that the change claims. */
static int agrees(PyObject *book, PyObject *change)
{
    long long px[2];
    for (int i = 0; i < 2; i++) {
        PyObject *best = FIELD(token_book, book, BID_PX + i);
        PyObject *claim = FIELD(change_struct, change, BEST_BID + i);
        px[i] = best && PyLong_CheckExact(best) ? PyLong_AsLongLong(best) : FAILED;
        if (!claim || !PyUnicode_CheckExact(claim) || read_decimal(claim) != px[i])
            return 0;
    }
    return 0 < px[0] && px[0] < px[1] && px[1] < E9;
}

/* Whether both tops show the same liquidity; of two books that agree. */
static int is_mirrored(PyObject *const books[2])
{
    long long px[2][2];
    for (int i = 0; i < 4; i++)
        px[i / 2][i % 2] = PyLong_AsLongLong(FIELD(token_book, books[i / 2], BID_PX + i % 2));
    return px[0][0] + px[1][1] == E9 && px[0][1] + px[1][0] == E9;
}

/* apply_changes(first, second, changes, frame, tick) -> FIRST | SECOND | FIRST_AGREES | SECOND_AGREES */
static PyObject *apply_changes(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 5 || !PyList_CheckExact(args[2]))
        return PyErr_SetString(PyExc_TypeError, "two books, changes, a frame, a tick size"), NULL;
    unsigned tick = read_tick(args[4]);
    if (!tick)
        return NULL;
    if (!is_a(&token_book, args[0]) || !is_a(&token_book, args[1]))
        return NULL;
    PyObject *last[2] = {NULL, NULL};
    int failed = 0;
    for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(args[2]); i++) {
        PyObject *change = Py_NewRef(PyList_GET_ITEM(args[2], i));
        int is_one = is_a(&change_struct, change);
        int owner = is_one ? owner_of(args, FIELD(change_struct, change, ASSET_ID)) : -1;
        failed = owner < 0 || apply_change(args[owner], change, tick) < 0;
        if (!failed)
            Py_XSETREF(last[owner], Py_NewRef(change));
        Py_DECREF(change);
    }
    long found = 0;
    for (int i = 0; i < 2; i++) {
        if (last[i] && !failed) {
            SET(FIELD(token_book, args[i], CLAIM), last[i]);
            SET(FIELD(token_book, args[i], FRAME), args[3]);
            found |= (agrees(args[i], last[i]) ? 5 : 1) << i;
        }
        Py_XDECREF(last[i]);
    }
    if (found == 15 && !is_mirrored(args))
        found = 3;
    return failed ? NULL : PyLong_FromLong(found);
}

/* read_side(levels, is_bid, tick) -> (prices to sizes, the best of them) */
static PyObject *read_side(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 3 || !PyList_CheckExact(args[0]))
        return PyErr_SetString(PyExc_TypeError, "levels, whether they are bids, a tick size"), NULL;
    unsigned tick = read_tick(args[2]);
    if (!tick)
        return NULL;
    PyObject *found = PyDict_New();
    for (Py_ssize_t i = 0; found && i < PyList_GET_SIZE(args[0]); i++) {
        PyObject *level = Py_NewRef(PyList_GET_ITEM(args[0], i));
        long long size = FAILED, px = FAILED;
        if (is_a(&level_struct, level))
            size = READ_SIZE(FIELD(level_struct, level, SIZE));
        if (size > 0)
            px = read_price(FIELD(level_struct, level, PRICE), tick);
        if (size == FAILED || (size > 0 && (px == FAILED || set_level(found, px, size) < 0)))
            Py_CLEAR(found);
        Py_DECREF(level);
    }
    PyObject *best = found ? best_of(found, args[1] == Py_True) : NULL;
    PyObject *pair = best ? PyTuple_Pack(2, found, best) : NULL;
    Py_XDECREF(found), Py_XDECREF(best);
    return pair;
}

/* --- module ---------------------------------------------------------------------------------- */

/* configure(TokenBook, Change, Level, OutOfRangeError) */
static PyObject *configure(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 4)
        return PyErr_SetString(PyExc_TypeError, "three classes and an exception"), NULL;
    Py_XSETREF(out_of_range, Py_NewRef(args[3])); /* first: a known class finds it set */
    if (learn_class(&token_book, args[0]) < 0 || learn_class(&change_struct, args[1]) < 0
        || learn_class(&level_struct, args[2]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL
static PyMethodDef methods[] = {
    {"configure", FAST(configure), "Give the core the classes it works with."},
    {"apply_changes", FAST(apply_changes), "Apply the changes of one frame to both books."},
    {"read_side", FAST(read_side), "Read one side of a whole book."},
    {"parse_time_ns", parse_time_ns, METH_O, "Parse the venue's epoch milliseconds."},
    {NULL},
};
static PyModuleDef_Slot slots[] = {
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_book", "The C core of the books.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__book(void)
{
    return PyModuleDef_Init(&module);
}
