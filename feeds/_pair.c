/* A market: from the changes that were decoded to the record on its board.
 *
 * A PairState has all that a frame reads and writes of its market beside the levels, as plain
 * integers; it publishes into the board without a Python object between (_board.h, BoardApi).
 */

#include "_decoded.h"

#include <time.h>

enum { FIRST = 1, SECOND = 2, FIRST_AGREES = 4, SECOND_AGREES = 8, PUBLISHED = 16, OUTDATED = 32 };
enum { BEST_PRICES = 2 }; /* of Proof */

PyTypeObject *pair_type;
static uint32_t pair_bbo_id;

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
PyObject *apply_changes(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
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

int learn_record(void)
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

int pair_type_add(PyObject *module)
{
    pair_type = add_type(module, "PairState", &pair_spec);
    return pair_type ? 0 : -1;
}
