/* The one writer of a board: a record of Python's values, or one that another core has whole. */

#include "_cells.h"

#define NEAR_BYTES (3 << 19) /* what the second cache of a core of today keeps, and some more */

static int writer_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"memory", "place", "incarnation", NULL};
    PyObject *memory, *place;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOI", names, &memory, &place,
                                     &((Board *)self)->incarnation))
        return -1;
    return board_init((Board *)self, memory, place, 1);
}

static int refuse(const LayoutRecord *layout, const LayoutField *field, PyObject *value)
{
    PyErr_Clear();
    PyErr_Format(struct_error, "%s.%s: %R does not fit %s of %d bytes", layout->name, field->name,
                 value, field->kind >= KIND_TEXT ? "bytes" : "an integer", (int)field->width);
    return -1;
}

static int store_integer(FieldKind kind, PyObject *value, char *to)
{
    if (!PyLong_Check(value)) { /* Integers of other types, numpy's for one. */
        PyObject *whole = PyNumber_Index(value);
        int failed = !whole || store_integer(kind, whole, to) < 0;
        Py_XDECREF(whole);
        return -failed;
    }
    int is_signed = kind == KIND_I64 || kind == KIND_I32;
    uint64_t word = is_signed ? (uint64_t)PyLong_AsLong(value) : PyLong_AsUnsignedLong(value);
    if (word == (uint64_t)-1 && PyErr_Occurred())
        return -1;
    if (kind == KIND_I64 || kind == KIND_U64) {
        memcpy(to, &word, 8);
        return 0;
    }
    memcpy(to, &word, 4); /* The low half: little-endian. */
    return -(is_signed ? (int64_t)word != (int32_t)word : word != (uint32_t)word);
}

static int store_text(const LayoutField *field, PyObject *value, char *to)
{
    char *text;
    Py_ssize_t length;
    if (!PyBytes_Check(value) || PyBytes_AsStringAndSize(value, &text, &length) < 0)
        return -1;
    memcpy(to, text, length < field->width ? length : field->width);
    return 0;
}

/* Encode a whole record into `stage`; a refused value leaves the cell untouched. */
static int encode(Board *self, PyObject *values, uint64_t *stage)
{
    const LayoutRecord *layout = self->kind->layout;
    PyObject *sequence = PySequence_Fast(values, "values must be a sequence");
    if (!sequence)
        return -1;
    PyObject **item = PySequence_Fast_ITEMS(sequence);
    Py_ssize_t given = PySequence_Fast_GET_SIZE(sequence);
    int failed = given != layout->value_count;
    if (failed)
        PyErr_Format(struct_error, "%s takes %d values, not %zd", layout->name,
                     (int)layout->value_count, given);
    memset(stage + 2, 0, (self->word_count - 2) * 8);
    for (int i = 3; !failed && i < self->kind->published_count; i++) {
        const LayoutField *field = &layout->fields[i];
        char *to = (char *)stage + field->offset;
        if (field->kind >= KIND_TEXT) {
            if ((failed = store_text(field, *item, to)))
                refuse(layout, field, *item);
            item++;
            continue;
        }
        for (int j = 0; !failed && j < field->count; j++, item++, to += field->width)
            if ((failed = store_integer(field->kind, *item, to)))
                refuse(layout, field, *item);
    }
    Py_DECREF(sequence);
    return failed ? -1 : 0;
}

/* Ask for the lines of the next cell, so that they come while the record is being encoded: among
 * thousands of slots they are in no near cache, and a store that waits holds up all behind it. */
static inline void fetch_ahead(const Board *self, Py_ssize_t slot)
{
    uint64_t version = atomic_load_explicit(&self->versions[slot], memory_order_relaxed);
    const Word *cell = cell_of(self, slot, version + 1);
    for (size_t i = 0; i < self->word_count; i += LINE_WORDS)
        __builtin_prefetch((const void *)&cell[i], 1);
}

/* And where the next cells of all slots fit into a near cache, ask for them a publish before. */
static inline void fetch_after(const Board *self, Py_ssize_t slot)
{
    if (self->slot_count * self->word_count * sizeof(Word) <= NEAR_BYTES)
        fetch_ahead(self, slot);
}

static PyObject *publish_as(Board *self, Py_ssize_t slot, uint64_t tag, uint32_t generation,
                            PyObject *values)
{
    fetch_ahead(self, slot);
    _Alignas(8) uint64_t stage[WORDS_MAX];
    stage[0] = tag;
    stage[1] = (uint64_t)generation << 32 | self->incarnation;
    if (encode(self, values, stage) < 0)
        return NULL;
    uint64_t version = store_record(self, slot, stage);
    fetch_after(self, slot);
    return PyLong_FromUnsignedLong(version);
}

static int is_unassigned(const Board *self, Py_ssize_t slot)
{
    if (self->tenants[slot].tag)
        return 0;
    PyErr_Format(board_error, "board %U: slot %zd is published before assign()", self->name, slot);
    return 1;
}

static PyObject *writer_publish(PyObject *object, PyObject *const *args, Py_ssize_t given)
{
    Board *self = (Board *)object;
    if (wrong_count(given, 2, "publish"))
        return NULL;
    Py_ssize_t slot = slot_of(self, args[0]);
    if (slot < 0)
        return NULL;
    const Tenant *tenant = &self->tenants[slot];
    if (is_unassigned(self, slot))
        return NULL;
    return publish_as(self, slot, tenant->tag, tenant->generation, args[1]);
}

static int stamps_of(PyObject *tag, PyObject *generation, uint64_t *tag_to, uint32_t *to)
{
    unsigned long number = 0;
    *tag_to = PyLong_AsUnsignedLong(tag);
    if (*tag_to == (uint64_t)-1 && PyErr_Occurred())
        return -1;
    number = PyLong_AsUnsignedLong(generation);
    if (number == (unsigned long)-1 && PyErr_Occurred())
        return -1;
    *to = (uint32_t)number;
    if (number <= UINT32_MAX)
        return 0;
    PyErr_Format(PyExc_OverflowError, "generation %lu does not fit 4 bytes", number);
    return -1;
}

static PyObject *writer_publish_tagged(PyObject *object, PyObject *const *args, Py_ssize_t given)
{
    Board *self = (Board *)object;
    uint64_t tag;
    uint32_t generation;
    if (wrong_count(given, 4, "publish_tagged"))
        return NULL;
    Py_ssize_t slot = slot_of(self, args[0]);
    if (slot < 0 || stamps_of(args[1], args[2], &tag, &generation) < 0)
        return NULL;
    return publish_as(self, slot, tag, generation, args[3]);
}

static PyObject *writer_assign(PyObject *object, PyObject *const *args, Py_ssize_t given)
{
    Board *self = (Board *)object;
    uint64_t tag;
    uint32_t generation;
    if (wrong_count(given, 3, "assign"))
        return NULL;
    Py_ssize_t slot = slot_of(self, args[0]);
    if (slot < 0 || stamps_of(args[1], args[2], &tag, &generation) < 0)
        return NULL;
    self->tenants[slot] = (Tenant){tag, generation};
    Py_RETURN_NONE;
}

static PyObject *writer_last(PyObject *object, PyObject *argument)
{
    Board *self = (Board *)object;
    Py_ssize_t slot = slot_of(self, argument);
    if (slot < 0)
        return NULL;
    uint64_t version = atomic_load_explicit(&self->versions[slot], memory_order_acquire);
    if (!version)
        return Py_NewRef(miss_never);
    Snapshot *snap = snapshot_alloc(self->kind);
    if (snap) { /* Nobody else writes: no R3. */
        copy_cell(self, slot, version, snap->words);
        snap->version = version;
    }
    return (PyObject *)snap;
}

static PyMethodDef writer_methods[] = {
    {"version", board_version, METH_O, "How often the slot was published; 0 never."},
    {"assign", FAST(writer_assign), METH_FASTCALL,
     "Say whose data the slot holds from now on."},
    {"publish", FAST(writer_publish), METH_FASTCALL,
     "Publish the fields after the three stamps, arrays flat; return the version."},
    {"publish_tagged", FAST(writer_publish_tagged), METH_FASTCALL,
     "Publish a record that carries its own tag."},
    {"last", writer_last, METH_O, "What the slot holds now, whoever published it."},
    {NULL},
};
static PyType_Slot writer_slots[] = {
    {Py_tp_doc, "The one writer of a board."}, {Py_tp_init, writer_init},
    {Py_tp_dealloc, board_dealloc}, {Py_tp_members, board_members},
    {Py_tp_methods, writer_methods}, {0, NULL},
};
static PyType_Spec writer_spec = {
    "cache._board.Writer", sizeof(Board), 0, Py_TPFLAGS_DEFAULT, writer_slots,
};

/* --- writing without Python objects (BoardApi) --------------------------------------------- */

static int api_is_writer(PyObject *object, uint32_t record_id)
{
    return Py_TYPE(object)->tp_init == writer_init && ((Board *)object)->tenants
           && ((Board *)object)->kind->layout->id == record_id;
}

static int api_publish(PyObject *board, Py_ssize_t slot, uint64_t *record)
{
    Board *self = (Board *)board;
    if ((size_t)slot >= self->slot_count)
        return no_slot(self, slot), -1;
    if (is_unassigned(self, slot))
        return -1;
    const Tenant *tenant = &self->tenants[slot];
    record[0] = tenant->tag;
    record[1] = (uint64_t)tenant->generation << 32 | self->incarnation;
    store_record(self, slot, record);
    return 0;
}

static void api_expect(PyObject *object, Py_ssize_t slot)
{
    const Board *self = (Board *)object;
    if ((size_t)slot >= self->slot_count)
        return;
    __builtin_prefetch((const void *)&self->versions[slot], 1);
    __builtin_prefetch(&self->tenants[slot]);
}

static void api_fetch(PyObject *board, Py_ssize_t slot)
{
    if ((size_t)slot < ((Board *)board)->slot_count)
        fetch_ahead((Board *)board, slot);
}

static const BoardApi board_api = {api_is_writer, api_publish, api_expect, api_fetch};

int writers_add(PyObject *module)
{
    PyObject *api = PyCapsule_New((void *)&board_api, BOARD_API, NULL);
    if (!api || PyModule_AddObject(module, "api", api) < 0) /* Takes the reference. */
        return -1;
    return type_add(module, "Writer", &writer_spec);
}
