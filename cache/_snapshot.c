/* Snapshots: one object for each record read, its bytes inside, its fields decoded lazily.
 *
 * One type for each record of _layout.h, all derived from `Snapshot`. They hold no references, so
 * they are no business of the garbage collector, and they are used again from a list per type.
 */

#include "_board.h"

Kind kinds[RECORD_COUNT];
static PyTypeObject *snapshot_base;

void snapshot_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Kind *kind = ((Snapshot *)self)->kind;
    if (kind->free_count < FREE_MAX)
        kind->free[kind->free_count++] = (Snapshot *)self;
    else
        PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *snapshot_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"raw", "version", NULL};
    Kind *kind = NULL;
    Py_buffer raw;
    unsigned long long version;
    for (int i = 0; i < RECORD_COUNT; i++)
        if (kinds[i].type == type)
            kind = &kinds[i];
    if (!kind) {
        PyErr_SetString(PyExc_TypeError, "a bare Snapshot has no record; use snapshot_type()");
        return NULL;
    }
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*K", names, &raw, &version))
        return NULL;
    Snapshot *snap = NULL;
    if (raw.len != kind->layout->bytes)
        PyErr_Format(PyExc_ValueError, "%s has %d bytes, not %zd", kind->layout->name,
                     (int)kind->layout->bytes, raw.len);
    else if ((snap = snapshot_alloc(kind))) {
        memcpy(snap->words, raw.buf, raw.len);
        snap->version = version;
    }
    PyBuffer_Release(&raw);
    return (PyObject *)snap;
}

static PyObject *snapshot_raw(PyObject *self, void *Py_UNUSED(closure))
{
    Snapshot *snap = (Snapshot *)self;
    return PyBytes_FromStringAndSize((char *)snap->words, snap->kind->layout->bytes);
}

static PyObject *snapshot_text(PyObject *self, void *closure)
{
    const LayoutField *field = closure;
    const char *text = (char *)((Snapshot *)self)->words + field->offset;
    Py_ssize_t length = field->width;
    while (length && !text[length - 1])
        length--;
    return PyUnicode_DecodeUTF8(text, length, "replace");
}

static PyObject *snapshot_bytes(PyObject *self, void *closure)
{
    const LayoutField *field = closure;
    const char *raw = (char *)((Snapshot *)self)->words + field->offset;
    return PyBytes_FromStringAndSize(raw, field->width);
}

static inline PyObject *element(const char *at, FieldKind kind)
{
    uint64_t wide;
    uint32_t narrow;
    memcpy(&narrow, at, sizeof narrow);
    if (kind == KIND_U32)
        return PyLong_FromLong(narrow);
    if (kind == KIND_I32)
        return PyLong_FromLong((int32_t)narrow);
    memcpy(&wide, at, sizeof wide);
    return kind == KIND_I64 ? PyLong_FromLong((int64_t)wide) : PyLong_FromUnsignedLong(wide);
}

static inline Attribute *attribute_slot(Kind *kind, PyObject *name)
{
    uintptr_t at = (uintptr_t)name / 16;
    Attribute *slot;
    do
        slot = &kind->attributes[at++ % ATTRIBUTE_SLOTS];
    while (slot->name && slot->name != name);
    return slot;
}

/* Names in code are interned, so their address tells; every other way leads to the members. */
static PyObject *snapshot_getattro(PyObject *self, PyObject *name)
{
    Attribute *slot = attribute_slot(((Snapshot *)self)->kind, name);
    if (slot->name)
        return element((char *)self + slot->offset, slot->kind);
    return PyObject_GenericGetAttr(self, name);
}

static int attribute_add(Kind *kind, const char *name, FieldKind type, size_t offset)
{
    PyObject *interned = PyUnicode_InternFromString(name);
    if (!interned)
        return -1;
    *attribute_slot(kind, interned) = (Attribute){interned, type, (int32_t)offset};
    return 0;
}

static PyObject *snapshot_array(PyObject *self, void *closure)
{
    const LayoutField *field = closure;
    const char *at = (char *)((Snapshot *)self)->words + field->offset;
    PyObject *found = PyTuple_New(field->count);
    for (int i = 0; found && i < field->count; i++, at += field->width) {
        PyObject *item = element(at, field->kind);
        if (!item)
            Py_CLEAR(found);
        else
            PyTuple_SET_ITEM(found, i, item);
    }
    return found;
}

static PyObject *snapshot_as_dict(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    const LayoutRecord *layout = ((Snapshot *)self)->kind->layout;
    PyObject *found = PyDict_New();
    for (int i = 0; found && i < layout->field_count; i++) {
        const char *name = layout->fields[i].name;
        if (!strncmp(name, "reserved", 8))
            continue;
        PyObject *value = PyObject_GetAttrString(self, name);
        if (!value || PyDict_SetItemString(found, name, value) < 0)
            Py_CLEAR(found);
        Py_XDECREF(value);
    }
    return found;
}

static PyObject *snapshot_repr(PyObject *self)
{
    Snapshot *snap = (Snapshot *)self;
    PyObject *fields = snapshot_as_dict(self, NULL), *parts = PyList_New(0), *shown = NULL;
    PyObject *space = PyUnicode_FromString(" "), *key, *value, *joined = NULL;
    Py_ssize_t at = 0;
    if (!fields || !parts || !space)
        goto done;
    while (PyDict_Next(fields, &at, &key, &value)) {
        PyObject *part = PyUnicode_FromFormat("%U=%R", key, value);
        int failed = !part || PyList_Append(parts, part) < 0;
        Py_XDECREF(part);
        if (failed)
            goto done;
    }
    if ((joined = PyUnicode_Join(space, parts)))
        shown = PyUnicode_FromFormat("<%s v%llu %U>", snap->kind->layout->name,
                                     (unsigned long long)snap->version, joined);
done:
    Py_XDECREF(fields), Py_XDECREF(parts), Py_XDECREF(space), Py_XDECREF(joined);
    return shown;
}

static PyMemberDef base_members[] = {
    {"version", T_ULONGLONG, offsetof(Snapshot, version), READONLY, "publish count of the slot"},
    {NULL},
};
static PyGetSetDef base_getset[] = {
    {"raw", snapshot_raw, NULL, "the record's bytes", NULL},
    {NULL},
};
static PyMethodDef base_methods[] = {
    {"as_dict", snapshot_as_dict, METH_NOARGS, "Every field but the reserved ones."},
    {NULL},
};
static PyType_Slot base_slots[] = {
    {Py_tp_doc, "One whole record: raw bytes, version, and each field by name, decoded lazily."},
    {Py_tp_dealloc, snapshot_dealloc}, {Py_tp_repr, snapshot_repr}, {Py_tp_new, snapshot_new},
    {Py_tp_members, base_members}, {Py_tp_getset, base_getset}, {Py_tp_methods, base_methods},
    {0, NULL},
};
static PyType_Spec base_spec = {
    "cache._board.Snapshot", sizeof(Snapshot), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    base_slots,
};

static int kind_init(Kind *kind, const LayoutRecord *layout)
{
    static const int codes[] = {T_ULONGLONG, T_LONGLONG, T_UINT, T_INT};
    PyMemberDef *member = PyMem_Calloc(layout->field_count + 1, sizeof *member);
    PyGetSetDef *getset = PyMem_Calloc(layout->field_count + 1, sizeof *getset);
    if (!member || !getset)
        return PyErr_NoMemory(), -1; /* Both live as long as the process. */
    PyType_Slot slots[] = {
        {Py_tp_doc, (void *)"One whole record of its kind."},
        {Py_tp_dealloc, snapshot_dealloc}, {Py_tp_new, snapshot_new},
        {Py_tp_getattro, snapshot_getattro}, {Py_tp_members, member}, {Py_tp_getset, getset},
        {0, NULL},
    };
    for (int i = 0; i < layout->field_count; i++) {
        const LayoutField *field = &layout->fields[i];
        getter get = field->kind == KIND_TEXT  ? snapshot_text
                     : field->kind == KIND_RAW ? snapshot_bytes
                     : field->count > 1        ? snapshot_array
                                               : NULL;
        if (get)
            *getset++ =
                (PyGetSetDef){field->name, get, NULL, field->text, (void *)field};
        else {
            size_t offset = offsetof(Snapshot, words) + field->offset;
            *member++ = (PyMemberDef){field->name, codes[field->kind], offset, READONLY,
                                      field->text};
            if (attribute_add(kind, field->name, field->kind, offset) < 0)
                return -1;
        }
    }
    if (attribute_add(kind, "version", KIND_U64, offsetof(Snapshot, version)) < 0)
        return -1;
    const char *last = layout->fields[layout->field_count - 1].name;
    kind->published_count = layout->field_count - !strcmp(last, "reserved");
    PyType_Spec spec = {layout->snapshot_name, sizeof(Snapshot) + layout->bytes, 0,
                        Py_TPFLAGS_DEFAULT, slots};
    PyObject *bases = PyTuple_Pack(1, snapshot_base);
    kind->layout = layout;
    kind->type = bases ? (PyTypeObject *)PyType_FromSpecWithBases(&spec, bases) : NULL;
    Py_XDECREF(bases);
    return kind->type ? 0 : -1;
}

/* --- picking ------------------------------------------------------------------------------- */

/* What a picker takes: it is its `self`, as the bytes of this. */
typedef struct {
    Kind *kind;
    Py_ssize_t count;
    Attribute fields[];
} Plan;

static PyObject *pick(PyObject *self, PyObject *object)
{
    const Plan *plan = (Plan *)PyBytes_AS_STRING(self);
    if (!is_snapshot(object) || ((Snapshot *)object)->kind != plan->kind)
        return PyErr_Format(PyExc_TypeError, "a %s is picked from, not a %s",
                            plan->kind->layout->name, Py_TYPE(object)->tp_name);
    PyObject *found = PyTuple_New(plan->count);
    for (Py_ssize_t i = 0; found && i < plan->count; i++) {
        PyObject *item = element((char *)object + plan->fields[i].offset, plan->fields[i].kind);
        if (!item)
            Py_CLEAR(found);
        else
            PyTuple_SET_ITEM(found, i, item);
    }
    return found;
}

static PyMethodDef pick_method = {"pick", pick, METH_O, "The picked fields of a snapshot."};

/* A function of a snapshot, made of a record's name and those of some of its numbers, in order. */
static PyObject *picker(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *record;
    PyObject *names;
    Kind *kind = kinds;
    if (!PyArg_ParseTuple(args, "sO!", &record, &PyTuple_Type, &names))
        return NULL;
    while (kind < kinds + RECORD_COUNT && strcmp(kind->layout->name, record))
        kind++;
    if (kind == kinds + RECORD_COUNT)
        return PyErr_Format(PyExc_ValueError, "there is no record %s", record);
    Py_ssize_t count = PyTuple_GET_SIZE(names);
    PyObject *self = PyBytes_FromStringAndSize(NULL, sizeof(Plan) + count * sizeof(Attribute));
    if (!self)
        return NULL;
    Plan *plan = (Plan *)PyBytes_AS_STRING(self);
    plan->kind = kind;
    plan->count = count;
    int32_t end = offsetof(Snapshot, words);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *name = Py_NewRef(PyTuple_GET_ITEM(names, i));
        if (PyUnicode_CheckExact(name))
            PyUnicode_InternInPlace(&name);
        plan->fields[i] = *attribute_slot(kind, name);
        Py_DECREF(name);
        if (!plan->fields[i].name || plan->fields[i].offset < end) {
            Py_DECREF(self);
            return PyErr_Format(PyExc_ValueError, "%s has no number %R there", record,
                                PyTuple_GET_ITEM(names, i));
        }
        end = plan->fields[i].offset + 1;
    }
    PyObject *made = PyCFunction_New(&pick_method, self);
    Py_DECREF(self);
    return made;
}

static PyMethodDef functions[] = {
    {"picker", picker, METH_VARARGS, "A function that takes some numbers out of a snapshot."},
    {NULL},
};

int snapshots_add(PyObject *module)
{
    PyObject *types = PyDict_New();
    snapshot_base = (PyTypeObject *)PyType_FromSpec(&base_spec);
    if (!types || !snapshot_base || PyModule_AddFunctions(module, functions) < 0
        || PyModule_AddObjectRef(module, "Snapshot", (PyObject *)snapshot_base) < 0)
        return -1;
    for (int i = 0; i < RECORD_COUNT; i++)
        if (kind_init(&kinds[i], &LAYOUT_RECORDS[i]) < 0
            || PyDict_SetItemString(types, LAYOUT_RECORDS[i].name, (PyObject *)kinds[i].type) < 0)
            return -1;
    return PyModule_AddObject(module, "snapshot_types", types); /* Takes the reference. */
}
