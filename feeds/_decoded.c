/* What is learned of the classes once, and the texts that are read once a frame. */

#include "_decoded.h"

PyObject *out_of_range;
Class change_struct = {
    {"price", "size", "side", "asset_id", "best_bid", "best_ask", "hash"}, NULL, {0}};
Class level_struct = {{"price", "size"}, NULL, {0}};
Class message_struct = {{"timestamp", "price_changes"}, NULL, {0}};

int learn_class(Class *class, PyObject *type)
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

unsigned read_tick(PyObject *number)
{
    long long tick = PyLong_CheckExact(number) ? PyLong_AsLongLong(number) : FAILED;
    if (0 < tick && tick < E9)
        return (unsigned)tick;
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "a tick size that is none");
    return 0;
}

long long read_time(PyObject *text)
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
