/* The books of a market in C: the twin of pure_book.py and pure_pair.py, same names and results.
 *
 * The rooms are told in _book.h; here is the module. Nothing of a frame is kept: among ten thousand
 * tokens every line that is touched is a wait for memory, and so is every old object that is given
 * back. Relies on the GIL.
 */

#include "_decoded.h"

PyObject *crossed;
const BoardApi *board_api;

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

/* parse_time_ns(text) */
static PyObject *parse_time_ns(PyObject *Py_UNUSED(module), PyObject *text)
{
    long long time_ns = read_time(text);
    return time_ns == FAILED ? NULL : PyLong_FromLongLong(time_ns);
}

static PyMethodDef methods[] = {
    {"configure", FAST(configure), METH_FASTCALL, "Give the core the classes it works with."},
    {"apply_changes", FAST(apply_changes), METH_FASTCALL, "Apply the changes of one frame."},
    {"parse_time_ns", parse_time_ns, METH_O, "Parse the venue's epoch milliseconds."},
    {NULL},
};

PyTypeObject *add_type(PyObject *module, const char *name, PyType_Spec *spec)
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
    return levels_type_add(module) < 0 || pair_type_add(module) < 0 ? -1 : markets_type_add(module);
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
