/* Which market a frame is of; and its memory asked for while the frame is decoded.
 *
 * Among ten thousand tokens every line that is touched is a wait for memory: the name stands near
 * the head of a frame, so it is looked for there, and what the frame will touch is asked for.
 */

#include "_book.h"

#define LINE 64

/* A market, and where its memory is: one line, as nothing of the rest is known before it has come. */
typedef struct {
    _Alignas(LINE) uint64_t key; /* of its name; 0: free */
    PyObject *name;
    PairState *state;
    Levels *books[2];
    PyObject *board;
    Py_ssize_t slot;
} Place;

typedef struct {
    PyObject_HEAD
    Place *places; /* open addressing, at most three quarters full: the fewer pages, the sooner */
    uint64_t mask, count;
} Markets;

#define PLACES_MIN 16
#define NAME_LENGTH_MAX 80
#define HEAD_BYTES 32 /* what CPython keeps before an object */
#define TAIL_BYTES (8 * sizeof(Level)) /* of a side: those of its best levels */

/* The end of a name tells most markets apart, and its last letters lie highest in their word: they
 * are folded down, or names in a row would all belong to few places. */
static inline uint64_t key_of(const char *name, Py_ssize_t length)
{
    uint64_t words[2] = {0, (uint64_t)length};
    if (length < (Py_ssize_t)sizeof words)
        memcpy(words, name, length);
    else
        memcpy(words, name + length - sizeof words, sizeof words);
    uint64_t mixed = (words[0] * 0x9E3779B97F4A7C15u) ^ words[1];
    return (mixed ^ mixed >> 32) * 0xC2B2AE3D27D4EB4Fu | 1;
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
    next.places = aligned_alloc(LINE, size * sizeof(Place));
    next.mask = size - 1;
    if (!next.places)
        return PyErr_NoMemory(), -1;
    memset(next.places, 0, size * sizeof(Place));
    for (uint64_t i = 0; self->places && i <= self->mask; i++)
        if (self->places[i].key)
            *place_of(&next, self->places[i].key, self->places[i].name) = self->places[i];
    free(self->places);
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
    *place = (Place){key, Py_NewRef(args[0]), state, {state->books[0], state->books[1]},
                     state->board, state->slot};
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

/* Ask for every line of some bytes. Their number is known to the compiler: to go from line to line
 * until the end would be a branch that is guessed wrong every few times.
 */
static inline void fetch_lines(uintptr_t at, const size_t bytes)
{
    for (size_t i = 0; i < bytes; i += LINE)
        __builtin_prefetch((const void *)(at + i), 1);
    __builtin_prefetch((const void *)(at + bytes - 1), 1);
}

/* find(name) -> its state, or None. What it publishes into and the best of its levels are asked for:
 * they are needed soon. */
static PyObject *markets_find(PyObject *object, PyObject *name)
{
    Place *place = place_of_known((Markets *)object, name);
    if (!place)
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    board_api->fetch(place->board, place->slot);
    for (int i = 0; i < 4; i++) {
        const Side *side = &place->books[i / 2]->sides[i % 2];
        fetch_lines((uintptr_t)(side->levels + side->count) - TAIL_BYTES, TAIL_BYTES);
    }
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
    fetch_lines((uintptr_t)place->name, sizeof(PyASCIIObject) + NAME_LENGTH_MAX);
    for (int i = 0; i < 2; i++)
        fetch_lines((uintptr_t)place->books[i]->sides, sizeof(Levels) - offsetof(Levels, sides));
    fetch_lines((uintptr_t)place->state - HEAD_BYTES, sizeof(PairState) + HEAD_BYTES);
    board_api->expect(place->board, place->slot);
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
    free(self->places);
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

int markets_type_add(PyObject *module)
{
    return add_type(module, "Markets", &markets_spec) ? 0 : -1;
}
