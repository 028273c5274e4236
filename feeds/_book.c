/* The books of a market in C: the twin of pure_book.py and pure_pair.py, same names and results.
 *
 * Levels are kept in flat memory of their own: an array a side, sixteen bytes a level, worst first,
 * so that the few lines of memory at its end have the best. A PairState has all that a frame reads
 * and writes of its market beside the levels, as plain integers; it publishes into the board without
 * a Python object between (_board.h, BoardApi). Nothing of a frame is kept: among ten thousand tokens
 * every line that is touched is a wait for memory, and so is every old object that is given back.
 *
 * The structs that msgspec decoded are read at the offsets at which their classes keep their fields:
 * looking fields up by name would cost more than all the rest. It never runs Python code while it
 * works on levels, so nothing in use can change or go meanwhile. Relies on the GIL.
 */

#include "_board.h"

#include <time.h>

#define E9 1000000000LL
#define SIZE_MAX_E9 (9000000000LL * E9)
#define FAILED (-1LL)
#define UNKNOWN (-1)
#define NO_PRICE (-2)
#define HASH_LENGTH 40
#define TOKEN_LENGTH_MAX 78
#define LOOK_BACK 16 /* levels from the best that are looked at one by one */
#define ROOM_STEP 8

enum { FIRST = 1, SECOND = 2, FIRST_AGREES = 4, SECOND_AGREES = 8, PUBLISHED = 16, OUTDATED = 32 };
enum { BEST_PRICES = 2 }; /* of Proof */

static PyObject *out_of_range, *crossed;
static PyTypeObject *levels_type, *pair_type;
static const BoardApi *board_api;
static uint32_t pair_bbo_id;

/* --- fields of the Python classes ------------------------------------------------------------ */

typedef struct {
    const char *names[8];
    PyTypeObject *type;
    Py_ssize_t offsets[8];
} Class;

enum { PRICE, SIZE, SIDE, ASSET_ID, BEST_BID, BEST_ASK, HASH };
enum { TIMESTAMP, CHANGES };
static Class change_struct = {
    {"price", "size", "side", "asset_id", "best_bid", "best_ask", "hash"}, NULL, {0}};
static Class level_struct = {{"price", "size"}, NULL, {0}};
static Class message_struct = {{"timestamp", "price_changes"}, NULL, {0}};

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

static unsigned read_tick(PyObject *number)
{
    long long tick = PyLong_CheckExact(number) ? PyLong_AsLongLong(number) : FAILED;
    if (0 < tick && tick < E9)
        return (unsigned)tick;
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "a tick size that is none");
    return 0;
}

/* The venue's epoch milliseconds, of thirteen digits, in nanoseconds; FAILED with an exception. */
static long long read_time(PyObject *text)
{
    if (!is_text(text))
        return FAILED;
    int is_plain = PyUnicode_GET_LENGTH(text) == 13 && PyUnicode_IS_COMPACT_ASCII(text);
    const unsigned char *at = PyUnicode_DATA(text);
    long long value = 0;
    for (int i = 0; is_plain && i < 13; i++) {
        unsigned digit = at[i] - '0';
        is_plain = digit <= 9;
        value = 10 * value + digit;
    }
    if (is_plain && 1000 * E9 <= value && value < 9000 * E9)
        return value * 1000000;
    return PyErr_Format(out_of_range, "%.40R is not a time in milliseconds", text), FAILED;
}

/* parse_time_ns(text) */
static PyObject *parse_time_ns(PyObject *Py_UNUSED(module), PyObject *text)
{
    long long time_ns = read_time(text);
    return time_ns == FAILED ? NULL : PyLong_FromLongLong(time_ns);
}

/* --- levels ---------------------------------------------------------------------------------- */

/* A level by its rank: the price of a bid, one less the price of an ask. The best has the highest. */
typedef struct {
    int64_t rank, size;
} Level;

/* One side, ranks ascending. Memory: room * 16 bytes; the grid limits count to 9,999. */
typedef struct {
    Level *levels;
    int32_t count, room;
} Side;

enum { BIDS, ASKS };

typedef struct {
    PyObject_HEAD
    Side sides[2];
    int32_t claims[2];
    int64_t hash_ns;
    char hash[HASH_LENGTH];
    uint8_t has_hash, token_length;
    char token[TOKEN_LENGTH_MAX];
} Levels;

static inline int64_t rank_of(int64_t px, int side)
{
    return side == BIDS ? px : E9 - px;
}

static inline int64_t price_of(int64_t rank, int side)
{
    return side == BIDS ? rank : E9 - rank;
}

/* The rank of the best level; 0 of a side without: a bid of 0, an ask of 1. */
static inline int64_t best_rank(const Side *side)
{
    return side->count ? side->levels[side->count - 1].rank : 0;
}

static inline int64_t best_size(const Side *side)
{
    return side->count ? side->levels[side->count - 1].size : 0;
}

/* Where a rank is, or belongs: the first place of no lower rank. Most changes are near the best. */
static inline int32_t index_of(const Side *side, int64_t rank)
{
    const Level *levels = side->levels;
    int32_t high = side->count, stop = high > LOOK_BACK ? high - LOOK_BACK : 0, low = 0;
    while (high > stop && levels[high - 1].rank >= rank)
        high--;
    if (high > stop)
        return high;
    while (low < high) {
        int32_t middle = (low + high) / 2;
        if (levels[middle].rank < rank)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int make_room(Side *side, int32_t room)
{
    room = (room + ROOM_STEP - 1) / ROOM_STEP * ROOM_STEP;
    Level *levels = PyMem_Realloc(side->levels, room * sizeof(Level));
    if (!levels)
        return PyErr_NoMemory(), -1;
    side->levels = levels;
    side->room = room;
    return 0;
}

/* Set a level's total, 0 removes it; -1 with an exception. */
static int set_level(Side *side, int64_t rank, int64_t size)
{
    int32_t at = index_of(side, rank);
    int is_there = at < side->count && side->levels[at].rank == rank;
    if (is_there && size) {
        side->levels[at].size = size;
        return 0;
    }
    if (!is_there && !size)
        return 0;
    if (!is_there && side->count == side->room
        && make_room(side, side->room + side->room / 4 + 1) < 0)
        return -1;
    Level *here = side->levels + at;
    size_t behind = (side->count - at) * sizeof(Level);
    if (size) {
        memmove(here + 1, here, behind);
        *here = (Level){rank, size};
        side->count++;
    } else {
        memmove(here, here + 1, behind - sizeof(Level));
        side->count--;
    }
    return 0;
}

/* Read one side of a whole book; -1 with an exception. */
static int read_side(Side *side, PyObject *list, int which, unsigned tick)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        PyObject *level = PyList_GET_ITEM(list, i);
        long long size = is_a(&level_struct, level)
                             ? READ_SIZE(FIELD(level_struct, level, SIZE)) : FAILED;
        if (!size)
            continue;
        long long px =
            size == FAILED ? FAILED : read_price(FIELD(level_struct, level, PRICE), tick);
        if (px == FAILED || set_level(side, rank_of(px, which), size) < 0)
            return -1;
    }
    return 0;
}

static PyObject *levels_load(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    Levels *self = (Levels *)object;
    if (count != 3 || !PyList_CheckExact(args[0]) || !PyList_CheckExact(args[1]))
        return PyErr_SetString(PyExc_TypeError, "bids, asks, a tick size"), NULL;
    unsigned tick = read_tick(args[2]);
    if (!tick)
        return NULL;
    Side found[2] = {{NULL, 0, 0}, {NULL, 0, 0}};
    int failed = 0;
    for (int i = 0; i < 2 && !failed; i++)
        failed = make_room(&found[i], (int32_t)(PyList_GET_SIZE(args[i]) % (1 << 14)) + 1) < 0
                 || read_side(&found[i], args[i], i, tick) < 0;
    long long bid = best_rank(&found[BIDS]), ask = E9 - best_rank(&found[ASKS]);
    if (!failed && bid >= ask) {
        PyObject *fault = PyObject_CallFunction(crossed, "LL", bid, ask);
        if (fault)
            PyErr_SetObject((PyObject *)Py_TYPE(fault), fault);
        Py_XDECREF(fault);
        failed = 1;
    }
    for (int i = 0; i < 2; i++) {
        Side old = failed ? found[i] : self->sides[i];
        if (!failed)
            self->sides[i] = found[i];
        PyMem_Free(old.levels);
    }
    return failed ? NULL : Py_NewRef(Py_None);
}

static PyObject *levels_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kw))
{
    Levels *self = (Levels *)type->tp_alloc(type, 0);
    if (self)
        self->claims[BIDS] = self->claims[ASKS] = UNKNOWN;
    return (PyObject *)self;
}

static void levels_dealloc(PyObject *object)
{
    Levels *self = (Levels *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyMem_Free(self->sides[BIDS].levels);
    PyMem_Free(self->sides[ASKS].levels);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *levels_forget_claim(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    Levels *self = (Levels *)object;
    self->claims[BIDS] = self->claims[ASKS] = UNKNOWN;
    self->has_hash = 0;
    self->hash_ns = 0;
    Py_RETURN_NONE;
}

static PyObject *levels_forget(PyObject *object, PyObject *ignored)
{
    Levels *self = (Levels *)object;
    for (int i = 0; i < 2; i++) {
        PyMem_Free(self->sides[i].levels);
        self->sides[i] = (Side){NULL, 0, 0};
    }
    return levels_forget_claim(object, ignored);
}

static void take_hash(Levels *self, PyObject *told, int64_t time_ns)
{
    self->has_hash = told && PyUnicode_CheckExact(told) && PyUnicode_IS_COMPACT_ASCII(told)
                     && PyUnicode_GET_LENGTH(told) == HASH_LENGTH;
    self->hash_ns = self->has_hash ? time_ns : 0;
    if (self->has_hash)
        memcpy(self->hash, PyUnicode_DATA(told), HASH_LENGTH);
}

static PyObject *levels_take_hash(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2)
        return PyErr_SetString(PyExc_TypeError, "a hash and its time"), NULL;
    long long time_ns = PyLong_AsLongLong(args[1]);
    if (time_ns == -1 && PyErr_Occurred())
        return NULL;
    take_hash((Levels *)object, args[0], time_ns);
    Py_RETURN_NONE;
}

static PyObject *levels_claim(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2)
        return PyErr_SetString(PyExc_TypeError, "a best bid and a best ask"), NULL;
    for (int i = 0; i < 2; i++)
        ((Levels *)object)->claims[i] = read_claim(args[i]);
    Py_RETURN_NONE;
}

/* best_levels(count) -> (bids, asks), flat, best first */
static PyObject *levels_best(PyObject *object, PyObject *argument)
{
    Levels *self = (Levels *)object;
    Py_ssize_t most = PyLong_AsSsize_t(argument);
    if (most < 0)
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "%zd levels", most);
    PyObject *pair = PyTuple_New(2);
    for (int i = 0; pair && i < 2; i++) {
        const Side *side = &self->sides[i];
        Py_ssize_t count = most < side->count ? most : side->count;
        PyObject *flat = PyList_New(2 * count);
        for (Py_ssize_t j = 0; flat && j < count; j++) {
            const Level *level = &side->levels[side->count - 1 - j];
            PyObject *px = PyLong_FromLongLong(price_of(level->rank, i));
            PyObject *size = PyLong_FromLongLong(level->size);
            PyList_SET_ITEM(flat, 2 * j, px);
            PyList_SET_ITEM(flat, 2 * j + 1, size);
            if (!px || !size)
                Py_CLEAR(flat);
        }
        if (flat)
            PyTuple_SET_ITEM(pair, i, flat);
        else
            Py_CLEAR(pair);
    }
    return pair;
}

/* One side as sizes by price; which side is the closure. */
static PyObject *levels_side(PyObject *object, void *which)
{
    int is_asks = which != NULL;
    const Side *side = &((Levels *)object)->sides[is_asks];
    PyObject *found = PyDict_New();
    for (int32_t i = 0; found && i < side->count; i++) {
        PyObject *px = PyLong_FromLongLong(price_of(side->levels[i].rank, is_asks));
        PyObject *size = PyLong_FromLongLong(side->levels[i].size);
        if (!px || !size || PyDict_SetItem(found, px, size) < 0)
            Py_CLEAR(found);
        Py_XDECREF(px), Py_XDECREF(size);
    }
    return found;
}

static PyObject *levels_best_px(PyObject *object, void *which)
{
    int is_asks = which != NULL;
    return PyLong_FromLongLong(price_of(best_rank(&((Levels *)object)->sides[is_asks]), is_asks));
}

static PyObject *levels_best_qty(PyObject *object, void *which)
{
    return PyLong_FromLongLong(best_size(&((Levels *)object)->sides[which != NULL]));
}

static PyObject *levels_hash(PyObject *object, void *Py_UNUSED(closure))
{
    Levels *self = (Levels *)object;
    return PyUnicode_FromStringAndSize(self->hash, self->has_hash ? HASH_LENGTH : 0);
}

static PyObject *levels_token(PyObject *object, void *Py_UNUSED(closure))
{
    Levels *self = (Levels *)object;
    return PyUnicode_FromStringAndSize(self->token, self->token_length);
}

static int levels_name(PyObject *object, PyObject *text, void *Py_UNUSED(closure))
{
    Levels *self = (Levels *)object;
    if (!text || !PyUnicode_CheckExact(text))
        return PyErr_SetString(PyExc_TypeError, "a token of a name that is no text"), -1;
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    if (length > TOKEN_LENGTH_MAX || !PyUnicode_IS_COMPACT_ASCII(text))
        return PyErr_SetString(out_of_range, "a token of a name that is none"), -1;
    memcpy(self->token, PyUnicode_DATA(text), length);
    self->token_length = (uint8_t)length;
    return 0;
}

#define ASKS_SIDE ((void *)1)
static PyGetSetDef levels_getset[] = {
    {"bids", levels_side, NULL, "Sizes by price, made anew.", NULL},
    {"asks", levels_side, NULL, "Sizes by price, made anew.", ASKS_SIDE},
    {"bid_px", levels_best_px, NULL, "The best bid; 0 where there is none.", NULL},
    {"ask_px", levels_best_px, NULL, "The best ask; 1 where there is none.", ASKS_SIDE},
    {"bid_qty", levels_best_qty, NULL, "The size at the best bid.", NULL},
    {"ask_qty", levels_best_qty, NULL, "The size at the best ask.", ASKS_SIDE},
    {"hash", levels_hash, NULL, "The hash of the book that the venue gave last.", NULL},
    {"token_id", levels_token, levels_name, "Whose levels these are.", NULL},
    {NULL},
};
static PyMemberDef levels_members[] = {
    {"claim_bid_px", T_INT, offsetof(Levels, claims[BIDS]), READONLY, "the best bid as claimed"},
    {"claim_ask_px", T_INT, offsetof(Levels, claims[ASKS]), READONLY, "the best ask as claimed"},
    {"hash_ns", T_LONGLONG, offsetof(Levels, hash_ns), READONLY, "the venue's time of the hash"},
    {NULL},
};
static PyMethodDef levels_methods[] = {
    {"forget", levels_forget, METH_NOARGS, "Forget everything but the name."},
    {"forget_claim", levels_forget_claim, METH_NOARGS, "Forget what the venue last said."},
    {"claim", FAST(levels_claim), METH_FASTCALL, "Take what the best prices are said to be."},
    {"take_hash", FAST(levels_take_hash), METH_FASTCALL, "Take the hash of the book."},
    {"load", FAST(levels_load), METH_FASTCALL, "Take a whole book's levels."},
    {"best_levels", levels_best, METH_O, "The best levels, flat, best first."},
    {NULL},
};
static PyType_Slot levels_slots[] = {
    {Py_tp_doc, "The levels of one token, and what the venue last said of them."},
    {Py_tp_new, levels_new}, {Py_tp_dealloc, levels_dealloc}, {Py_tp_getset, levels_getset},
    {Py_tp_members, levels_members}, {Py_tp_methods, levels_methods}, {0, NULL},
};
static PyType_Spec levels_spec = {
    "feeds._book.Levels", sizeof(Levels), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    levels_slots,
};

/* --- changes --------------------------------------------------------------------------------- */

static inline int is_named(const Levels *book, PyObject *token)
{
    return PyUnicode_GET_LENGTH(token) == book->token_length && PyUnicode_IS_COMPACT_ASCII(token)
           && memcmp(PyUnicode_DATA(token), book->token, book->token_length) == 0;
}

/* Whose change it is: 0 the first book's, 1 the second's, -1 with an exception. */
static inline int owner_of(Levels *const books[2], PyObject *token)
{
    if (!is_text(token))
        return -1;
    for (int i = 0; i < 2; i++)
        if (is_named(books[i], token))
            return i;
    if (books[1]->token_length)
        return PyErr_SetString(out_of_range, "a token of another market"), -1;
    return levels_name((PyObject *)books[1], token, NULL) < 0 ? -1 : 1; /* a sibling becomes known */
}

static int apply_change(Levels *book, PyObject *change, unsigned tick)
{
    long long px = read_price(FIELD(change_struct, change, PRICE), tick);
    long long size = px == FAILED ? FAILED : READ_SIZE(FIELD(change_struct, change, SIZE));
    PyObject *side = FIELD(change_struct, change, SIDE);
    if (size == FAILED || !is_text(side))
        return -1;
    int which = PyUnicode_CompareWithASCIIString(side, "BUY") == 0 ? BIDS : ASKS;
    if (which == ASKS && PyUnicode_CompareWithASCIIString(side, "SELL") != 0)
        return PyErr_SetString(out_of_range, "a side that is none"), -1;
    return set_level(&book->sides[which], rank_of(px, which), size);
}

/* Whether the top is sound, and wholly what the venue claims. */
static inline int is_claimed(const Levels *book)
{
    int64_t bid = best_rank(&book->sides[BIDS]), ask = E9 - best_rank(&book->sides[ASKS]);
    return book->claims[BIDS] == bid && book->claims[ASKS] == ask && 0 < bid && bid < ask
           && ask < E9;
}

/* Whether both tops show the same liquidity. */
static inline int is_mirror(Levels *const books[2])
{
    return best_rank(&books[0]->sides[BIDS]) == best_rank(&books[1]->sides[ASKS])
           && best_rank(&books[0]->sides[ASKS]) == best_rank(&books[1]->sides[BIDS]);
}

/* Apply the changes of one frame; -1 with an exception, else whose they were and which agree. */
static int apply_all(Levels *const books[2], PyObject *changes, int64_t time_ns, unsigned tick)
{
    PyObject *last[2] = {NULL, NULL};
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(changes); i++) {
        PyObject *change = PyList_GET_ITEM(changes, i);
        int owner = is_a(&change_struct, change)
                        ? owner_of(books, FIELD(change_struct, change, ASSET_ID)) : -1;
        if (owner < 0 || apply_change(books[owner], change, tick) < 0)
            return -1;
        last[owner] = change;
    }
    int found = 0;
    for (int i = 0; i < 2; i++) {
        if (!last[i])
            continue;
        books[i]->claims[BIDS] = read_claim(FIELD(change_struct, last[i], BEST_BID));
        books[i]->claims[ASKS] = read_claim(FIELD(change_struct, last[i], BEST_ASK));
        take_hash(books[i], FIELD(change_struct, last[i], HASH), time_ns);
        found |= (is_claimed(books[i]) ? FIRST | FIRST_AGREES : FIRST) << i;
    }
    return found == 15 && !is_mirror(books) ? FIRST | SECOND : found;
}

/* apply_changes(first, second, changes, time_ns, tick) */
static PyObject *apply_changes(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 5 || !PyObject_TypeCheck(args[0], levels_type)
        || !PyObject_TypeCheck(args[1], levels_type) || !PyList_CheckExact(args[2]))
        return PyErr_SetString(PyExc_TypeError, "two books, changes, a time, a tick size"), NULL;
    long long time_ns = PyLong_AsLongLong(args[3]);
    unsigned tick = time_ns == -1 && PyErr_Occurred() ? 0 : read_tick(args[4]);
    Levels *const books[2] = {(Levels *)args[0], (Levels *)args[1]};
    int found = tick ? apply_all(books, args[2], time_ns, tick) : -1;
    return found < 0 ? NULL : PyLong_FromLong(found);
}

/* --- a market -------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    Levels *books[2];
    PyObject *board;
    long long slot, tick_e9, snapshot_ns, last_px_e9;
    long long batch, recv_ns, publish_ns, venue_ts_ns, proof, proven_ns, held_ns;
    char is_plain, is_mirrored, is_unsent;
} PairState;

/* A PairBbo as it lies in a cell; checked against the layout by learn_record. */
typedef struct {
    uint64_t stamps[2];
    uint64_t batch, venue_seq;
    int64_t recv_ns, publish_ns, venue_ts_ns;
    uint32_t flags, proof;
    int64_t tops[2][4]; /* bid, its size, ask, its size, of either token */
    int64_t last_px_e9, tick_e9, proven_ns;
    uint32_t yes_flags, no_flags;
    uint64_t reserved[4];
} Record;

static int learn_record(void)
{
    static const struct { const char *name; size_t offset; } known[] = {
        {"batch", offsetof(Record, batch)}, {"venue_seq", offsetof(Record, venue_seq)},
        {"recv_ns", offsetof(Record, recv_ns)}, {"publish_ns", offsetof(Record, publish_ns)},
        {"venue_ts_ns", offsetof(Record, venue_ts_ns)}, {"flags", offsetof(Record, flags)},
        {"proof", offsetof(Record, proof)}, {"yes_bid_px_e9", offsetof(Record, tops[0][0])},
        {"yes_bid_qty_e9", offsetof(Record, tops[0][1])},
        {"yes_ask_px_e9", offsetof(Record, tops[0][2])},
        {"yes_ask_qty_e9", offsetof(Record, tops[0][3])},
        {"no_bid_px_e9", offsetof(Record, tops[1][0])},
        {"no_bid_qty_e9", offsetof(Record, tops[1][1])},
        {"no_ask_px_e9", offsetof(Record, tops[1][2])},
        {"no_ask_qty_e9", offsetof(Record, tops[1][3])},
        {"last_px_e9", offsetof(Record, last_px_e9)}, {"tick_e9", offsetof(Record, tick_e9)},
        {"proven_ns", offsetof(Record, proven_ns)}, {"yes_flags", offsetof(Record, yes_flags)},
        {"no_flags", offsetof(Record, no_flags)},
    };
    const int count = sizeof known / sizeof *known;
    for (int i = 0; i < count; i++) {
        const LayoutField *field = &PAIR_BBO_FIELDS[3 + i];
        if (strcmp(field->name, known[i].name) || field->offset != (int)known[i].offset)
            return PyErr_Format(PyExc_ImportError, "PairBbo has %s", field->name), -1;
    }
    for (int i = 0; i < RECORD_COUNT; i++)
        if (LAYOUT_RECORDS[i].fields == PAIR_BBO_FIELDS)
            pair_bbo_id = LAYOUT_RECORDS[i].id;
    return 0;
}

static void pair_dealloc(PyObject *object)
{
    PairState *self = (PairState *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF(self->books[0]), Py_XDECREF(self->books[1]), Py_XDECREF(self->board);
    type->tp_free(object);
    Py_DECREF(type);
}

/* begin(first, second, slot, board) */
static PyObject *pair_begin(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    PairState *self = (PairState *)object;
    if (self->board || count != 4 || !PyObject_TypeCheck(args[0], levels_type)
        || !PyObject_TypeCheck(args[1], levels_type)
        || !board_api->is_writer(args[3], pair_bbo_id))
        return PyErr_SetString(PyExc_TypeError, "once: two books, a slot, a board of PairBbo"), NULL;
    self->slot = PyLong_AsLongLong(args[2]);
    if (self->slot == -1 && PyErr_Occurred())
        return NULL;
    self->books[0] = (Levels *)Py_NewRef(args[0]);
    self->books[1] = (Levels *)Py_NewRef(args[1]);
    self->board = Py_NewRef(args[3]);
    Py_RETURN_NONE;
}

static inline void put_top(int64_t top[4], const Levels *book, int is_mirrored)
{
    const Side *bids = &book->sides[is_mirrored ? ASKS : BIDS];
    const Side *asks = &book->sides[is_mirrored ? BIDS : ASKS];
    top[0] = best_rank(bids), top[1] = best_size(bids);
    top[2] = E9 - best_rank(asks), top[3] = best_size(asks);
}

static int pair_publish(PairState *self)
{
    struct timespec now;
    Record record = {{0, 0}, .batch = ++self->batch, .recv_ns = self->recv_ns,
                     .venue_ts_ns = self->venue_ts_ns, .proof = (uint32_t)self->proof,
                     .last_px_e9 = self->last_px_e9, .tick_e9 = self->tick_e9,
                     .proven_ns = self->proven_ns};
    put_top(record.tops[0], self->books[0], 0);
    put_top(record.tops[1], self->books[!self->is_mirrored], self->is_mirrored);
    clock_gettime(CLOCK_MONOTONIC, &now);
    record.publish_ns = self->publish_ns = now.tv_sec * E9 + now.tv_nsec;
    return board_api->publish(self->board, self->slot, (uint64_t *)&record);
}

static PyObject *apply_and_publish(PairState *self, PyObject *changes, long long recv_ns)
{
    unsigned tick = 0 < self->tick_e9 && self->tick_e9 < E9 ? (unsigned)self->tick_e9 : 0;
    if (!tick || !PyList_CheckExact(changes))
        return PyErr_SetString(PyExc_TypeError, "no changes, or no tick size"), NULL;
    int found = apply_all(self->books, changes, self->venue_ts_ns, tick);
    if (found <= 0)
        return found < 0 ? NULL : PyLong_FromLong(0);
    self->recv_ns = recv_ns;
    if (self->is_plain && found & FIRST_AGREES && (self->is_mirrored || found & SECOND_AGREES)) {
        self->held_ns = 0;
        self->proof = BEST_PRICES;
        self->proven_ns = recv_ns;
        if (pair_publish(self) < 0)
            return NULL;
        found |= PUBLISHED;
    }
    return PyLong_FromLong(found);
}

static int read_recv(PairState *self, PyObject *const *args, Py_ssize_t count, long long *recv_ns)
{
    if (count != 2 || !self->board)
        return PyErr_SetString(PyExc_TypeError, "after begin: what to apply, and when it came"), -1;
    *recv_ns = PyLong_AsLongLong(args[1]);
    return *recv_ns == -1 && PyErr_Occurred() ? -1 : 0;
}

/* take_changes(message, recv_ns) */
static PyObject *pair_take_changes(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    PairState *self = (PairState *)object;
    long long recv_ns;
    if (read_recv(self, args, count, &recv_ns) < 0 || !is_a(&message_struct, args[0]))
        return NULL;
    long long time_ns = read_time(FIELD(message_struct, args[0], TIMESTAMP));
    if (time_ns == FAILED)
        return NULL;
    self->venue_ts_ns = time_ns;
    if (time_ns < self->snapshot_ns)
        return PyLong_FromLong(OUTDATED);
    PyObject *changes = FIELD(message_struct, args[0], CHANGES);
    if (changes == Py_None)
        return PyLong_FromLong(0);
    return changes ? apply_and_publish(self, changes, recv_ns)
                   : (PyErr_SetString(PyExc_TypeError, "no changes"), NULL);
}

/* apply(changes, recv_ns) */
static PyObject *pair_apply(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    long long recv_ns;
    if (read_recv((PairState *)object, args, count, &recv_ns) < 0)
        return NULL;
    return apply_and_publish((PairState *)object, args[0], recv_ns);
}

#define NUMBER(name, text) {#name, T_LONGLONG, offsetof(PairState, name), 0, text}
static PyMemberDef pair_members[] = {
    {"first", T_OBJECT_EX, offsetof(PairState, books[0]), READONLY, "the first token's book"},
    {"second", T_OBJECT_EX, offsetof(PairState, books[1]), READONLY, "the second token's book"},
    {"slot", T_LONGLONG, offsetof(PairState, slot), READONLY, "where it is published"},
    NUMBER(tick_e9, "the tick size"), NUMBER(last_px_e9, "the last trade, of the first token"),
    NUMBER(snapshot_ns, "the venue's time of the newest whole book"),
    NUMBER(batch, "number of the newest record"), NUMBER(recv_ns, "when the newest frame came"),
    NUMBER(publish_ns, "when the newest record was published"),
    NUMBER(venue_ts_ns, "the venue's time of the newest frame"),
    NUMBER(proof, "what last proved the books"), NUMBER(proven_ns, "and when"),
    NUMBER(held_ns, "since when a batch is held; 0 none is"),
    {"is_plain", T_BOOL, offsetof(PairState, is_plain), 0, "in no special state"},
    {"is_mirrored", T_BOOL, offsetof(PairState, is_mirrored), 0, "the first book shown as both"},
    {"is_unsent", T_BOOL, offsetof(PairState, is_unsent), 0, "its depth is to be published"},
    {NULL},
};
static PyMethodDef pair_methods[] = {
    {"begin", FAST(pair_begin), METH_FASTCALL, "Set everything to nothing yet; this comes first."},
    {"take_changes", FAST(pair_take_changes), METH_FASTCALL, "Apply a price_change, and publish."},
    {"apply", FAST(pair_apply), METH_FASTCALL, "Apply changes, and publish if both agree."},
    {NULL},
};
static PyType_Slot pair_slots[] = {
    {Py_tp_doc, "Both books of a market, and the numbers of its newest record."},
    {Py_tp_dealloc, pair_dealloc}, {Py_tp_members, pair_members}, {Py_tp_methods, pair_methods},
    {0, NULL},
};
static PyType_Spec pair_spec = {
    "feeds._book.PairState", sizeof(PairState), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    pair_slots,
};

/* --- looking ahead --------------------------------------------------------------------------- */

/* A market, and where its memory is. */
typedef struct {
    uint64_t key; /* of its name; 0: free */
    PyObject *name;
    PairState *state;
    Levels *books[2];
} Place;

typedef struct {
    PyObject_HEAD
    Place *places; /* open addressing, at most three quarters full */
    uint64_t mask, count;
} Markets;

#define LINE 64
#define PLACES_MIN 16
#define NAME_LENGTH_MAX 80
#define HEAD_BYTES 32 /* what CPython keeps before an object */
#define TAIL_LEVELS 8

/* The end of a name tells most markets apart. */
static inline uint64_t key_of(const char *name, Py_ssize_t length)
{
    uint64_t words[2] = {0, (uint64_t)length};
    if (length < (Py_ssize_t)sizeof words)
        memcpy(words, name, length);
    else
        memcpy(words, name + length - sizeof words, sizeof words);
    return ((words[0] * 0x9E3779B97F4A7C15u) ^ words[1]) * 0xC2B2AE3D27D4EB4Fu | 1;
}

/* Where a market is, or belongs; without a name, the first that its key may mean. */
static inline Place *place_of(const Markets *self, uint64_t key, PyObject *name)
{
    for (uint64_t at = key >> 32;; at++) {
        Place *place = &self->places[at & self->mask];
        if (!place->key || (place->key == key && (!name || PyUnicode_Compare(place->name, name) == 0)))
            return place;
    }
}

/* The key of a market's name; 0 with an exception. */
static uint64_t key_of_text(PyObject *name)
{
    if (!PyUnicode_CheckExact(name))
        return PyErr_SetString(PyExc_TypeError, "a market without a name"), 0;
    Py_ssize_t length;
    const char *text = PyUnicode_IS_COMPACT_ASCII(name) ? PyUnicode_DATA(name) : NULL;
    if (text)
        return key_of(text, PyUnicode_GET_LENGTH(name));
    text = PyUnicode_AsUTF8AndSize(name, &length);
    return text ? key_of(text, length) : 0;
}

static int places_grow(Markets *self, uint64_t size)
{
    Markets next = *self;
    next.places = PyMem_Calloc(size, sizeof(Place));
    next.mask = size - 1;
    if (!next.places)
        return PyErr_NoMemory(), -1;
    for (uint64_t i = 0; self->places && i <= self->mask; i++)
        if (self->places[i].key)
            *place_of(&next, self->places[i].key, self->places[i].name) = self->places[i];
    PyMem_Free(self->places);
    self->places = next.places;
    self->mask = next.mask;
    return 0;
}

/* add(name, state) */
static PyObject *markets_add(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    Markets *self = (Markets *)object;
    if (count != 2 || !PyObject_TypeCheck(args[1], pair_type) || !((PairState *)args[1])->board)
        return PyErr_SetString(PyExc_TypeError, "the name of a market, and its state"), NULL;
    uint64_t key = key_of_text(args[0]);
    if (!key || (self->count * 4 >= self->mask * 3
                 && places_grow(self, self->places ? 2 * self->mask + 2 : PLACES_MIN) < 0))
        return NULL;
    Place *place = place_of(self, key, args[0]), old = *place;
    PairState *state = (PairState *)Py_NewRef(args[1]);
    *place = (Place){key, Py_NewRef(args[0]), state, {state->books[0], state->books[1]}};
    self->count += !old.key;
    Py_XDECREF(old.name), Py_XDECREF(old.state);
    Py_RETURN_NONE;
}

/* Where a known market is; NULL of any other, with an exception where that is no name. */
static inline Place *place_of_known(const Markets *self, PyObject *name)
{
    uint64_t key = key_of_text(name);
    Place *place = key && self->places ? place_of(self, key, name) : NULL;
    return place && place->key ? place : NULL;
}

/* remove(name): and put again what would not be found behind the hole */
static PyObject *markets_remove(PyObject *object, PyObject *name)
{
    Markets *self = (Markets *)object;
    Place *place = place_of_known(self, name);
    if (!place)
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    Place gone = *place;
    *place = (Place){0};
    self->count--;
    for (uint64_t at = place - self->places + 1; self->places[at & self->mask].key; at++) {
        Place moved = self->places[at & self->mask];
        self->places[at & self->mask] = (Place){0};
        *place_of(self, moved.key, moved.name) = moved;
    }
    Py_DECREF(gone.name), Py_DECREF(gone.state);
    Py_RETURN_NONE;
}

static inline void fetch_lines(const void *at, Py_ssize_t bytes)
{
    uintptr_t line = (uintptr_t)at & ~(uintptr_t)(LINE - 1);
    for (; line < (uintptr_t)at + bytes; line += LINE)
        __builtin_prefetch((const void *)line, 1);
}

/* find(name) -> its state, or None. The best of its levels are asked for: they are needed soon. */
static PyObject *markets_find(PyObject *object, PyObject *name)
{
    Place *place = place_of_known((Markets *)object, name);
    if (!place)
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    for (int i = 0; i < 4; i++) {
        const Side *side = &place->books[i / 2]->sides[i % 2];
        int32_t from = side->count > TAIL_LEVELS ? side->count - TAIL_LEVELS : 0;
        fetch_lines(side->levels + from, (side->count - from) * sizeof(Level));
    }
    board_api->fetch(place->state->board, place->state->slot);
    return Py_NewRef(place->state);
}

/* Ask for the memory of the market that a frame seems to be about; a wrong guess costs only that. */
static inline void fetch_market(const Markets *self, const char *frame, Py_ssize_t length)
{
    static const char head[] = "{\"market\":";
    const Py_ssize_t head_length = sizeof head - 1;
    if (!self->places || length < head_length + 2 + NAME_LENGTH_MAX
        || memcmp(frame, head, head_length))
        return;
    const char *name = frame + head_length + (frame[head_length] == ' ') + 1;
    const char *end = memchr(name, '"', NAME_LENGTH_MAX);
    const Place *place = end ? place_of(self, key_of(name, end - name), NULL) : NULL;
    if (!place || !place->key)
        return;
    fetch_lines(place->name, sizeof(PyASCIIObject) + NAME_LENGTH_MAX);
    for (int i = 0; i < 2; i++)
        fetch_lines(place->books[i], sizeof(Levels));
    fetch_lines((char *)place->state - HEAD_BYTES, sizeof(PairState) + HEAD_BYTES);
}

/* is_ascii(frame): whether it is; the memory of its market comes while it is decoded. */
static PyObject *markets_is_ascii(PyObject *object, PyObject *frame)
{
    const char *at;
    Py_ssize_t length;
    if (PyBytes_CheckExact(frame))
        at = PyBytes_AS_STRING(frame), length = PyBytes_GET_SIZE(frame);
    else if (PyByteArray_CheckExact(frame))
        at = PyByteArray_AS_STRING(frame), length = PyByteArray_GET_SIZE(frame);
    else
        return PyErr_SetString(PyExc_TypeError, "a frame that is no bytes"), NULL;
    fetch_market((Markets *)object, at, length);
    uint64_t seen = 0, word;
    const char *end = at + length;
    for (; end - at >= (Py_ssize_t)sizeof word; at += sizeof word) {
        memcpy(&word, at, sizeof word);
        seen |= word;
    }
    for (; at < end; at++)
        seen |= (unsigned char)*at;
    return PyBool_FromLong(!(seen & 0x8080808080808080u));
}

static void markets_dealloc(PyObject *object)
{
    Markets *self = (Markets *)object;
    PyTypeObject *type = Py_TYPE(object);
    for (uint64_t i = 0; self->places && i <= self->mask; i++)
        Py_XDECREF(self->places[i].name), Py_XDECREF(self->places[i].state);
    PyMem_Free(self->places);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef markets_methods[] = {
    {"add", FAST(markets_add), METH_FASTCALL, "Add a market by its name."},
    {"remove", markets_remove, METH_O, "Forget a market, if it is known."},
    {"find", markets_find, METH_O, "The state of a market, or None."},
    {"is_ascii", markets_is_ascii, METH_O, "Whether a frame is; its market is asked for."},
    {NULL},
};
static PyType_Slot markets_slots[] = {
    {Py_tp_doc, "Markets by their names, whose memory is asked for ahead."},
    {Py_tp_dealloc, markets_dealloc}, {Py_tp_methods, markets_methods}, {0, NULL},
};
static PyType_Spec markets_spec = {
    "feeds._book.Markets", sizeof(Markets), 0, Py_TPFLAGS_DEFAULT, markets_slots,
};

/* --- module ---------------------------------------------------------------------------------- */

/* configure(Change, Level, Message, OutOfRangeError, crossed) */
static PyObject *configure(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 5)
        return PyErr_SetString(PyExc_TypeError, "three classes, an exception, a maker of one"), NULL;
    Py_XSETREF(out_of_range, Py_NewRef(args[3])); /* first: a known class finds it set */
    Py_XSETREF(crossed, Py_NewRef(args[4]));
    if (learn_class(&change_struct, args[0]) < 0 || learn_class(&level_struct, args[1]) < 0
        || learn_class(&message_struct, args[2]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"configure", FAST(configure), METH_FASTCALL, "Give the core the classes it works with."},
    {"apply_changes", FAST(apply_changes), METH_FASTCALL, "Apply the changes of one frame."},
    {"parse_time_ns", parse_time_ns, METH_O, "Parse the venue's epoch milliseconds."},
    {NULL},
};

/* The module keeps the reference; NULL with an exception. */
static PyTypeObject *add_type(PyObject *module, const char *name, PyType_Spec *spec)
{
    PyObject *type = PyType_FromSpec(spec);
    if (!type || PyModule_AddObject(module, name, type) < 0)
        return NULL;
    return (PyTypeObject *)type;
}

static int module_exec(PyObject *module)
{
    out_of_range = Py_NewRef(PyExc_ValueError); /* Until configure() names a better one. */
    PyObject *boards = PyImport_ImportModule("cache._board"); /* It stays, as this module does. */
    board_api = boards ? PyCapsule_Import(BOARD_API, 0) : NULL;
    if (!board_api || learn_record() < 0)
        return -1;
    levels_type = add_type(module, "Levels", &levels_spec);
    pair_type = add_type(module, "PairState", &pair_spec);
    return levels_type && pair_type && add_type(module, "Markets", &markets_spec) ? 0 : -1;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
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
