/* Boards in C: publish and read in one call each (shm_layout.md §6, §7).
 *
 * The twin of the pure-Python classes in board.py, under the same tests; board.py adds what may be
 * slower (history as an array, streams). A Snapshot is one object with the record's bytes inside,
 * its fields decoded when asked for. Types and fields come from _layout.h, which follows layout.py.
 *
 * Here are what readers and writers share of making a board, and the module. The rooms are told in
 * _board.h, the protocol in _cells.h.
 */

#include "_cells.h"

PyObject *miss_never, *miss_busy, *miss_other_tag, *board_error, *struct_error;

/* --- boards -------------------------------------------------------------------------------- */

/* A number that is an attribute of `place`, or 0 with an exception set. */
static unsigned long number_of(PyObject *place, const char *name)
{
    PyObject *found = PyObject_GetAttrString(place, name);
    unsigned long number = found ? PyLong_AsUnsignedLong(found) : 0;
    Py_XDECREF(found);
    return PyErr_Occurred() ? 0 : number;
}

/* Take names and record type from a BoardPlace. */
static int board_describe(Board *self, PyObject *memory, PyObject *place)
{
    PyObject *spec = PyObject_GetAttrString(place, "spec");
    if (!spec)
        return -1;
    self->place = Py_NewRef(place);
    self->source = Py_NewRef(memory);
    self->name = PyObject_GetAttrString(spec, "name");
    self->record = PyObject_GetAttrString(spec, "record");
    self->cell_count = number_of(spec, "cell_count");
    unsigned long slots = PyErr_Occurred() ? 0 : number_of(spec, "slot_count");
    unsigned long record_id = self->record && !PyErr_Occurred() ? number_of(self->record, "id") : 0;
    Py_DECREF(spec);
    if (PyErr_Occurred())
        return -1;
    for (int i = 0; i < RECORD_COUNT; i++)
        if (kinds[i].layout->id == record_id)
            self->kind = &kinds[i];
    uint64_t cells = self->cell_count;
    if (self->kind && cells >= 4 && !(cells & (cells - 1)) && cells <= UINT32_MAX && slots
        && slots <= UINT32_MAX) {
        self->slot_count = slots;
        return 0;
    }
    PyErr_Format(board_error, "board %S: record type %lu, %lu slots, %llu cells", self->name,
                 record_id, slots, (unsigned long long)cells);
    return -1;
}

static int board_locate(Board *self, uint64_t slots, int writes)
{
    uint64_t versions_at = number_of(self->place, "versions_offset");
    uint64_t cells_at = PyErr_Occurred() ? 0 : number_of(self->place, "cells_offset");
    if (PyErr_Occurred()
        || PyObject_GetBuffer(self->source, &self->memory, writes ? PyBUF_WRITABLE : PyBUF_SIMPLE))
        return -1;
    uint64_t length = self->memory.len, bytes = self->kind->layout->bytes;
    if (versions_at % 8 || cells_at % 8 || (uintptr_t)self->memory.buf % 8
        || versions_at > length || cells_at > length || slots > (length - versions_at) / 8
        || slots * self->cell_count > (length - cells_at) / bytes) {
        PyErr_Format(board_error, "board %S does not lie in its %llu bytes", self->name,
                     (unsigned long long)length);
        return -1;
    }
    self->versions = (Word *)((char *)self->memory.buf + versions_at);
    self->cells = (char *)self->memory.buf + cells_at;
    self->mask = self->cell_count - 1;
    self->reach = self->cell_count - 2 + MUTANT(MUTANT_READ);
    self->word_count = bytes / 8;
    self->slot_bytes = bytes * self->cell_count;
    if (!writes)
        return 0;
    self->tenants = PyMem_Calloc(slots, sizeof *self->tenants);
    return self->tenants ? 0 : (PyErr_NoMemory(), -1);
}

int board_init(Board *self, PyObject *memory, PyObject *place, int writes)
{
    if (self->place) {
        PyErr_SetString(PyExc_TypeError, "a board is made once");
        return -1;
    }
    uint64_t slots = board_describe(self, memory, place) < 0 ? 0 : self->slot_count;
    self->slot_count = 0; /* A board without slots touches no memory. */
    if (!slots || board_locate(self, slots, writes) < 0)
        return -1;
    self->slot_count = slots;
    return 0;
}

void board_dealloc(PyObject *object)
{
    Board *self = (Board *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->memory.obj)
        PyBuffer_Release(&self->memory);
    Py_XDECREF(self->name), Py_XDECREF(self->record);
    Py_XDECREF(self->place), Py_XDECREF(self->source);
    PyMem_Free(self->tenants);
    type->tp_free(object);
    Py_DECREF(type);
}

void no_slot(const Board *self, Py_ssize_t slot)
{
    PyErr_Format(PyExc_IndexError, "board %S has slots 0 to %lld, not %zd",
                 self->name ? self->name : Py_None, (long long)self->slot_count - 1, slot);
}

PyObject *board_version(PyObject *object, PyObject *argument)
{
    Board *self = (Board *)object;
    Py_ssize_t slot = slot_of(self, argument);
    if (slot < 0)
        return NULL;
    /* Acquire: pairs with W3, so what the caller reads next is at least this new. */
    return PyLong_FromUnsignedLong(
        atomic_load_explicit(&self->versions[slot], memory_order_acquire));
}

PyMemberDef board_members[] = {
    {"name", T_OBJECT_EX, offsetof(Board, name), READONLY, "name of the board"},
    {"record", T_OBJECT_EX, offsetof(Board, record), READONLY, "its record type"},
    {"place", T_OBJECT_EX, offsetof(Board, place), READONLY, "where it lies in its segment"},
    {"memory", T_OBJECT_EX, offsetof(Board, source), READONLY, "the segment's memory"},
    {"slot_count", T_ULONGLONG, offsetof(Board, slot_count), READONLY, "N"},
    {"cell_count", T_ULONGLONG, offsetof(Board, cell_count), READONLY, "K"},
    {"retry_count", T_ULONGLONG, offsetof(Board, retry_count), 0, "copies thrown away"},
    {"busy_count", T_ULONGLONG, offsetof(Board, busy_count), 0, "reads given up"},
    {NULL},
};

/* --- module -------------------------------------------------------------------------------- */

static PyObject *configure(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *never, *busy, *other_tag, *error;
    if (!PyArg_ParseTuple(args, "OOOO", &never, &busy, &other_tag, &error))
        return NULL;
    Py_XSETREF(miss_never, Py_NewRef(never));
    Py_XSETREF(miss_busy, Py_NewRef(busy));
    Py_XSETREF(miss_other_tag, Py_NewRef(other_tag));
    Py_XSETREF(board_error, Py_NewRef(error));
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"configure", configure, METH_VARARGS, "Give the core what it returns and raises."},
    {NULL},
};

int type_add(PyObject *module, const char *name, PyType_Spec *spec)
{
    PyObject *type = PyType_FromSpec(spec);
    int failed = !type || PyModule_AddObjectRef(module, name, type) < 0;
    Py_XDECREF(type);
    return failed ? -1 : 0;
}

static int module_exec(PyObject *module)
{
    PyObject *structs = PyImport_ImportModule("struct");
    struct_error = structs ? PyObject_GetAttrString(structs, "error") : NULL;
    Py_XDECREF(structs);
    PyObject *hash = PyLong_FromUnsignedLong(LAYOUT_HASH);
    if (!struct_error || !hash || PyModule_AddObject(module, "LAYOUT_HASH", hash) < 0)
        return -1;
    board_error = Py_NewRef(PyExc_ValueError); /* Until configure() names a better one. */
    miss_never = Py_NewRef(Py_None), miss_busy = Py_NewRef(Py_None);
    miss_other_tag = Py_NewRef(Py_None);
    int (*const rooms[])(PyObject *) = {snapshots_add, bells_add,   gate_add, readers_add,
                                        writers_add,   scan_add,
#ifdef BOARD_STEPS
                                        steps_add,
#endif
    };
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++)
        if (rooms[i](module) < 0)
            return -1;
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};
static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT, "_board", "The C core: boards and bells.", 0,
    module_methods, module_slots, NULL, NULL, NULL,
};

#ifdef BOARD_STEPS
PyMODINIT_FUNC PyInit__board_steps(void)
#else
PyMODINIT_FUNC PyInit__board(void)
#endif
{
    return PyModuleDef_Init(&module_def);
}
