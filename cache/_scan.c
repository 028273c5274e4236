/* Which slots of a board changed: all its versions in one pass. */

#include "_cells.h"

typedef struct {
    PyObject_HEAD
    Py_buffer memory;
    const Word *live;
    Py_ssize_t count;
    uint64_t *last;
    Py_ssize_t *found;
} Scan;

static PyObject *scan_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    PyObject *memory;
    Py_ssize_t offset, count;
    if (!PyArg_ParseTuple(args, "Onn", &memory, &offset, &count))
        return NULL;
    Scan *self = (Scan *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    if (PyObject_GetBuffer(memory, &self->memory, PyBUF_SIMPLE) < 0)
        goto failed;
    if (offset < 0 || offset % 8 || count < 1 || offset > self->memory.len
        || count > (self->memory.len - offset) / 8) {
        PyErr_SetString(board_error, "the versions do not lie in the memory");
        goto failed;
    }
    self->live = (const Word *)((char *)self->memory.buf + offset);
    self->count = count;
    self->last = PyMem_Calloc(count, sizeof *self->last);
    self->found = PyMem_Calloc(count, sizeof *self->found);
    if (self->last && self->found)
        return (PyObject *)self;
    PyErr_NoMemory();
failed:
    Py_DECREF(self);
    return NULL;
}

static void scan_dealloc(PyObject *object)
{
    Scan *self = (Scan *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->memory.obj)
        PyBuffer_Release(&self->memory);
    PyMem_Free(self->last);
    PyMem_Free(self->found);
    type->tp_free(object);
    Py_DECREF(type);
}

/* Each word is loaded once, compared and kept: a change between the two is never lost. */
static PyObject *scan_poll(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    Scan *self = (Scan *)object;
    Py_ssize_t found = 0;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        uint64_t now = atomic_load_explicit(&self->live[i], memory_order_relaxed);
        self->found[found] = i;
        found += now != self->last[i];
        self->last[i] = now;
    }
    atomic_thread_fence(memory_order_acquire); /* Pairs with W3, for all slots at once. */
    return PyBytes_FromStringAndSize((char *)self->found, found * sizeof *self->found);
}

static PyMethodDef scan_methods[] = {
    {"poll", scan_poll, METH_NOARGS, "Slot numbers published since the last poll, as bytes."},
    {NULL},
};
static PyType_Slot scan_slots[] = {
    {Py_tp_doc, "Which slots of a board changed."}, {Py_tp_new, scan_new},
    {Py_tp_dealloc, scan_dealloc}, {Py_tp_methods, scan_methods}, {0, NULL},
};
static PyType_Spec scan_spec = {
    "cache._board.Scan", sizeof(Scan), 0, Py_TPFLAGS_DEFAULT, scan_slots,
};

int scan_add(PyObject *module)
{
    return type_add(module, "Scan", &scan_spec);
}
