// Marks what the shared library exports; everything else is hidden.
#ifndef A8A_EXPORT_H_
#define A8A_EXPORT_H_

// Of a class or function: the library exports it.
#define A8A_EXPORT __attribute__((visibility("default")))
// Of a member of an exported class: it stays inside.
#define A8A_HIDDEN __attribute__((visibility("hidden")))

#endif  // A8A_EXPORT_H_
