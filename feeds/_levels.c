/* The levels of a token: flat memory, an array a side, sixteen bytes a level, worst first, so that
 * the few lines of memory at its end have the best.
 *
 * Nothing here runs Python code while it works on levels, so nothing in use can change or go
 * meanwhile.
 */

#include "_decoded.h"

#define LOOK_BACK 16 /* levels from the best that are looked at one by one */
#define ROOM_STEP 8

PyTypeObject *levels_type;

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

int set_level(Side *side, int64_t rank, int64_t size)
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

void take_hash(Levels *self, PyObject *told, int64_t time_ns)
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

int levels_name(PyObject *object, PyObject *text, void *Py_UNUSED(closure))
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

int levels_type_add(PyObject *module)
{
    levels_type = add_type(module, "Levels", &levels_spec);
    return levels_type ? 0 : -1;
}
